/* pyrun._json: JSON to Python objects and back. It reads strict RFC 8259 and writes what Go's encoding/json writes.
 *
 * It replaces the standard library's json, whose Python modules take milliseconds to import; its C part alone gives no
 * line and column of an error. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Far deeper than any file that has a meaning, and not too deep for what walks through the result recursively. */
#define JSON_DEPTH_LIMIT 200

PyObject *json_loads(PyObject *module, PyObject *text);
PyObject *json_dumps(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* Writes a code point in UTF-8, at most 4 bytes; returns where the next one goes. */
char *json_put_utf8(char *out, unsigned c);
