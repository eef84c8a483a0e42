/* The JSON decoder, in a Python of its own, held by oracle.py against the standard library's. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

PyMODINIT_FUNC PyInit__json(void);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

static PyObject *judge;

/* $PYTHONPATH is this directory. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    PyImport_AppendInittab("pyrun_json", PyInit__json);
    Py_InitializeEx(0);
    PyObject *ours = PyImport_ImportModule("pyrun_json"), *oracle = PyImport_ImportModule("oracle");
    judge = ours && oracle ? PyObject_CallMethod(oracle, "judge_of", "O", ours) : NULL;
    if (!judge) {
        PyErr_Print();
        abort();
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *text = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *result = text ? PyObject_CallOneArg(judge, text) : NULL;
    if (!result) {
        PyErr_Print();
        abort();
    }
    Py_DECREF(result);
    Py_DECREF(text);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    (void)seed;
    return LLVMFuzzerMutate(data, size, max);
}
