/* The standalone binary: Python, the hot modules and the C parts in one executable.
 *
 * Only Python's core is started (PyConfig._init_main = 0): built-in and frozen modules, no codecs but UTF-8, no io, no path.
 * That suffices for the hot commands. For the others pyrun.base.cold starts the rest of Python, out of the archive. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include "image.h"

extern const struct _frozen frozen_modules[];
extern const char archive[], archive_end[];

PyMODINIT_FUNC PyInit__cffi_backend(void);
PyMODINIT_FUNC PyInit__contextvars(void);
PyMODINIT_FUNC PyInit__json(void);
PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__typing(void);

int _PySignal_Init(int install_handlers);

static void check(PyStatus status) {
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* When Python starts, it interns all names of its deep-frozen standard library. Equal names in pyrun's code would then be those
 * objects, which lie scattered over a megabyte, and each page that is touched costs time. So this is put off until the rest
 * of Python is started. */
int __real__Py_Deepfreeze_Init(void);
int __wrap__Py_Deepfreeze_Init(void) {
    return 0;
}

/* --- pyrun._standalone: what pyrun/base/cold.py needs of this file ------------------------------------------------------------ */

static PyObject *start_rest(PyObject *module, PyObject *unused) {
    if (__real__Py_Deepfreeze_Init() < 0)
        return PyErr_NoMemory();
    PyStatus status = _Py_InitializeMain();
    if (PyStatus_Exception(status)) {
        /* All that it needs is in the executable; only memory can be missing. */
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

static PyObject *load_library(PyObject *module, PyObject *path) {
    const char *name = PyUnicode_AsUTF8(path);
    if (!name)
        return NULL;
    if (!dlopen(name, RTLD_NOW | RTLD_GLOBAL)) {
        PyErr_SetString(PyExc_ImportError, dlerror());
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *get_archive(PyObject *module, PyObject *unused) {
    return PyMemoryView_FromMemory((char *)archive, archive_end - archive, PyBUF_READ);
}

static PyMethodDef methods[] = {{"start_rest", start_rest, METH_NOARGS, "Starts what _init_main = 0 left out."},
                                {"load_library", load_library, METH_O, "Loads a shared library (path), so that extension modules find it."},
                                {"archive", get_archive, METH_NOARGS, "The archive of the cold part, a memoryview."},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "pyrun._standalone", NULL, -1, methods, NULL, NULL, NULL, NULL};

static PyObject *init_standalone(void) {
    return PyModule_Create(&definition);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

/* Python's table of built-in modules has no place for modules inside a package, so they are made here. */
static void add_module(PyObject *package, const char *name, PyObject *(*init)(void)) {
    PyObject *module = init();
    PyObject *full_name = PyUnicode_FromFormat("pyrun.%s", name);
    if (!module || !full_name || PyObject_SetItem(PyImport_GetModuleDict(), full_name, module) < 0 ||
        PyObject_SetAttrString(package, name, module) < 0) {
        PyErr_Print();
        _exit(1);
    }
    Py_DECREF(full_name);
    Py_DECREF(module);
}

static PyObject *import(const char *name) {
    PyObject *module = PyImport_ImportModule(name);
    if (!module) {
        PyErr_Print();
        _exit(1);
    }
    return module;
}

static void start_python(void) {
    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1;
    check(Py_PreInitialize(&preconfig));

    PyImport_AppendInittab("_cffi_backend", PyInit__cffi_backend);
    PyImport_AppendInittab("_contextvars", PyInit__contextvars);
    PyImport_AppendInittab("_typing", PyInit__typing);
    PyImport_FrozenModules = frozen_modules;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = 0;
    config.install_signal_handlers = 0;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1; /* sys.path is empty: everything comes from the executable */
    config.use_hash_seed = 1;           /* so that each build makes the same image */
    config.hash_seed = 0;
    check(PyConfig_SetString(&config, &config.program_name, L"pyrun"));
    /* Python looks for a pyvenv.cfg beside the executable. By default that could be the current directory, in which anybody may
     * have put one. */
    check(PyConfig_SetString(&config, &config.executable, L"/proc/self/exe"));
    wchar_t **paths[] = {&config.base_executable, &config.prefix,           &config.base_prefix,
                         &config.exec_prefix,     &config.base_exec_prefix, &config.stdlib_dir};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        check(PyConfig_SetString(&config, paths[i], L""));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    /* Part of what _init_main = 0 leaves out; without it the import of _signal crashes. */
    if (_PySignal_Init(0) < 0)
        Py_FatalError("no signals");
}

/* Everything that a hot command may import. What these modules do while they are imported must not depend on the machine. */
static void import_all(void) {
    import("encodings.utf_8");
    PyObject *codec = PyCodec_Encoder("utf-8"); /* makes the registry of codecs and error handlers */
    if (!codec) {
        PyErr_Print();
        _exit(1);
    }
    Py_DECREF(codec);

    PyObject *package = import("pyrun");
    add_module(package, "_standalone", init_standalone);
    add_module(package, "_json", PyInit__json);
    add_module(package, "_native", PyInit__native);
    for (const struct _frozen *module = frozen_modules; module->name; module++)
        import(module->name);

    /* A command ends before garbage piles up, and reading a config would set off many collections: they are made rare. */
    PyObject *gc = import("gc");
    Py_XDECREF(PyObject_CallMethod(gc, "collect", NULL));
    Py_XDECREF(PyObject_CallMethod(gc, "freeze", NULL));
    Py_XDECREF(PyObject_CallMethod(gc, "set_threshold", "iii", 50000, 10, 10));
}

/* What the awake process calls, found while the image is made. */
static struct {
    PyObject *main, *start, *finish, *signal, *ignore, *interrupt, *environ;
} found;

static void find_all(void) {
    static const struct {
        PyObject **place;
        const char *module, *name;
    } wanted[] = {
        {&found.main, "pyrun.__main__", "main"},      {&found.start, "pyrun.base.cold", "start"},
        {&found.finish, "pyrun.base.cold", "finish"}, {&found.signal, "_signal", "signal"},
        {&found.ignore, "_signal", "SIG_IGN"},        {&found.interrupt, "_signal", "default_int_handler"},
        {&found.environ, "posix", "environ"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        *wanted[i].place = PyObject_GetAttrString(import(wanted[i].module), wanted[i].name);
        if (!*wanted[i].place)
            Py_FatalError(wanted[i].name);
    }
}

/* With nothing left to make a message of. */
static void out_of_memory(void) {
    static const char text[] = "pyrun: out of memory\n";
    _exit(write(2, text, sizeof text - 1) < 0 ? 2 : 1);
}

/* What importing _signal does, done again for this process (it was imported when the image was made): signals that the caller
 * ignores are marked as ignored, SIGINT becomes KeyboardInterrupt. */
static void set_signals(void) {
    signal(SIGPIPE, SIG_IGN); /* as Python does: writing to a closed pipe gives EPIPE instead of ending the process */
    for (int number = 1; number <= SIGSYS; number++) {
        PyObject *handler = PyOS_getsig(number) == SIG_IGN ? found.ignore : number == SIGINT ? found.interrupt : NULL;
        PyObject *old = handler ? PyObject_CallFunction(found.signal, "iO", number, handler) : NULL;
        if (handler && !old)
            out_of_memory();
        Py_XDECREF(old);
    }
}

/* posix.environ holds the environment of the process that made the image: filled anew. */
static void set_environment(void) {
    PyDict_Clear(found.environ);
    for (char **entry = environ; entry && *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (!equals)
            continue;
        PyObject *name = PyBytes_FromStringAndSize(*entry, equals - *entry), *value = PyBytes_FromString(equals + 1);
        /* of equal names the first counts, as for getenv */
        if (!name || !value || !PyDict_SetDefault(found.environ, name, value))
            out_of_memory();
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
}

/* The status that pyrun.__main__.main(words) returns. */
static int run_main(int argc, char **argv) {
    PyObject *words = PyList_New(0);
    for (int i = 1; words && i < argc; i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(argv[i]);
        if (!word || PyList_Append(words, word) < 0)
            Py_CLEAR(words);
        Py_XDECREF(word);
    }
    PyObject *result = words ? PyObject_CallOneArg(found.main, words) : NULL;
    if (!result && PyErr_ExceptionMatches(PyExc_MemoryError))
        out_of_memory();
    if (!result) {
        /* A fault of pyrun's own. The traceback needs the rest of Python. */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(PyObject_CallNoArgs(found.start));
        PyErr_Restore(type, value, traceback);
        PyErr_Print();
        return 1;
    }
    return (int)PyLong_AsLong(result);
}

int main(int argc, char **argv) {
    if (!image_awake) {
        image_prepare();
        start_python();
        import_all();
        find_all();
        image_write();
    }
    image_wake();
    set_signals();
    set_environment();
    int status = run_main(argc, argv);
    Py_XDECREF(PyObject_CallNoArgs(found.finish));
    _exit(status);
}
