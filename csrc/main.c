/* The standalone executable: a whole Python, all modules and the C parts in one file. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image.h"

extern const struct _frozen frozen_modules[];

static void check(PyStatus status) {
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static PyObject *import(const char *name) {
    PyObject *module = PyImport_ImportModule(name);
    if (!module) {
        PyErr_Print();
        _exit(1);
    }
    return module;
}

static const char *carried; /* what csrc/modules.py has made */

static PyObject *read_carried(PyObject *self, PyObject *args) {
    Py_ssize_t start, size;
    return PyArg_ParseTuple(args, "nn", &start, &size) ? PyBytes_FromStringAndSize(carried + start, size) : NULL;
}

static PyMethodDef read_method = {"read_carried", read_carried, METH_VARARGS, "A part of what csrc/modules.py has made (start, size)."};

static void start_python(int argc, char **argv) {
    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1;
    check(Py_PreInitialize(&preconfig));

    PyImport_FrozenModules = frozen_modules;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.pathconfig_warnings = 0;
    config.write_bytecode = 0;
    config.buffered_stdio = 0; /* nothing has to be flushed at the end, which is _exit() */
    config.parse_argv = 0;
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    config.use_hash_seed = 1; /* so that each build makes the same image */
    config.hash_seed = 0;
    check(PyConfig_SetString(&config, &config.program_name, L"pyrun"));
    /* Python looks for a pyvenv.cfg beside the executable. By default that could be the current directory, in which anybody may
     * have put one. */
    check(PyConfig_SetString(&config, &config.executable, L"/proc/self/exe"));
#ifndef ORDINARY
    config.module_search_paths_set = 1; /* sys.path is empty: everything comes from the executable */
    wchar_t **paths[] = {&config.base_executable, &config.prefix,           &config.base_prefix,
                         &config.exec_prefix,     &config.base_exec_prefix, &config.stdlib_dir};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        check(PyConfig_SetString(&config, paths[i], L""));
#endif
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    PyObject *read = PyCFunction_New(&read_method, NULL);
    if (!read || PySys_SetObject("read_carried", read) < 0)
        Py_FatalError("no memory");
    Py_DECREF(read);
}

static PyObject *command; /* pyrun.__main__.main */

static void find_command(void) {
    command = PyObject_GetAttrString(import("pyrun.__main__"), "main");
    if (!command)
        Py_FatalError("no main");
}

static const char no_memory[] = "pyrun: out of memory\n"; /* with nothing left to make a message of */

/* The status that pyrun.__main__.main(words) returns. */
static int run_main(int argc, char **argv) {
    PyObject *words = PyList_New(0);
    for (int i = 1; words && i < argc; i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(argv[i]);
        if (!word || PyList_Append(words, word) < 0)
            Py_CLEAR(words);
        Py_XDECREF(word);
    }
    PyObject *result = words ? PyObject_CallOneArg(command, words) : NULL;
    if (!result && PyErr_ExceptionMatches(PyExc_MemoryError))
        _exit(write(2, no_memory, sizeof no_memory - 1) < 0 ? 2 : 1);
    if (!result) {
        PyErr_Print(); /* a fault of pyrun's own */
        return 1;
    }
    return (int)PyLong_AsLong(result);
}

#ifdef ORDINARY

/* Of a Python whose image the build cannot make: started and importing anew by each process. */
extern const char carried_modules[];

int main(int argc, char **argv) {
    carried = carried_modules;
    start_python(argc, argv);
    import("carried");
    find_command();
    _exit(run_main(argc, argv));
}

#else

/* The seed's one task, on this word alone. An executable with an image never comes here. */
static void make_image(int argc, char **argv) {
    if (argc < 3 || strcmp(argv[1], "--write-image") != 0) {
        static const char why[] = "seed: this is a part of pyrun's build; the runtime is build/pyrun\n";
        _exit(write(2, why, sizeof why - 1) < 0 ? 2 : 1);
    }
    int file = open(argv[2], O_RDONLY);
    off_t size = lseek(file, 0, SEEK_END);
    carried = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (carried == MAP_FAILED)
        _exit(1);
    image_prepare();
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* what the build ignores (nohup) is no business of the image, which notes it */
    start_python(1, argv);       /* of the others the image shall keep nothing */
    import("seed");
    find_command();
    carried = NULL;
    image_write();
}

int main(int argc, char **argv) {
    if (!image_awake)
        make_image(argc, argv);
    image_wake();
    _exit(run_main(argc, argv));
}

#endif
