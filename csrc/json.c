#include "json.h"

PyDoc_STRVAR(loads_doc, "loads(text: bytes | str) -> object\n\nRaises ValueError: \"line L column C: what\".");

PyDoc_STRVAR(dumps_doc,
             "dumps(value, indent: int = -1) -> bytes\n\nUTF-8, without a newline at the end. indent: spaces per level; -1: one line.");

static PyMethodDef methods[] = {{"loads", json_loads, METH_O, loads_doc},
                                {"dumps", (PyCFunction)(void (*)(void))json_dumps, METH_FASTCALL, dumps_doc},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "pyrun._json", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__json(void) {
    return PyModule_Create(&definition);
}
