/* pyrun._json: JSON to Python objects and back. Strict RFC 8259 on the way in, Go's encoding/json on the way out.
 *
 * It stands in for the standard library's json, whose pure Python parts cost milliseconds to import and which names
 * neither line nor column without them. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define JSON_DEPTH_LIMIT 1000

PyObject *json_loads(PyObject *module, PyObject *text);
PyObject *json_dumps(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* Writes a code point in UTF-8, at most 4 bytes; returns where the next one goes. */
char *json_put_utf8(char *out, unsigned c);
