/* Python objects -> JSON text. */

#include "json.h"

struct encoder {
    char *bytes;
    Py_ssize_t size, room;
    int indent, depth; /* indent: -1 for all on one line */
};

static int encode_value(struct encoder *e, PyObject *value);

static char *reserve(struct encoder *e, Py_ssize_t more) {
    if (e->size + more > e->room) {
        Py_ssize_t room = (e->size + more) * 2 + 512;
        char *bytes = PyMem_Realloc(e->bytes, room);
        if (!bytes) {
            PyErr_NoMemory();
            return NULL;
        }
        e->bytes = bytes;
        e->room = room;
    }
    return e->bytes + e->size;
}

static int put(struct encoder *e, const char *text, Py_ssize_t size) {
    char *out = reserve(e, size);
    if (!out)
        return -1;
    memcpy(out, text, size);
    e->size += size;
    return 0;
}

static int put_newline(struct encoder *e) {
    if (e->indent < 0)
        return 0;
    Py_ssize_t size = 1 + (Py_ssize_t)e->indent * e->depth;
    char *out = reserve(e, size);
    if (!out)
        return -1;
    out[0] = '\n';
    memset(out + 1, ' ', size - 1);
    e->size += size;
    return 0;
}

/* Go escapes what is special in HTML and JavaScript. A surrogate is a raw byte (is_raw_byte in json_decode.c): UTF-8 cannot
 * hold it, so it is escaped. */
static int is_escaped(Py_UCS4 c) {
    return c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x2028 || c == 0x2029 ||
           (c >= 0xd800 && c < 0xe000);
}

static int encode_string(struct encoder *e, PyObject *text) {
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    static const char hex[] = "0123456789abcdef";
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    char *out = reserve(e, length * 6 + 2);
    if (!out)
        return -1;
    *out++ = '"';
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (!is_escaped(c)) {
            out = json_put_utf8(out, c);
            continue;
        }
        *out++ = '\\';
        const char *s = shorts;
        while (*s && (Py_UCS4)*s != c)
            s += 2;
        if (*s) {
            *out++ = s[1];
        } else {
            *out++ = 'u';
            for (int shift = 12; shift >= 0; shift -= 4)
                *out++ = hex[c >> shift & 15];
        }
    }
    *out++ = '"';
    e->size = out - e->bytes;
    return 0;
}

/* str() of an int and repr() of a float are valid JSON, except inf and nan. */
static int encode_number(struct encoder *e, PyObject *number) {
    if (PyFloat_Check(number) && !Py_IS_FINITE(PyFloat_AS_DOUBLE(number))) {
        PyErr_SetString(PyExc_ValueError, "a number that JSON does not have");
        return -1;
    }
    PyObject *text = PyFloat_Check(number) ? PyObject_Repr(number) : PyLong_Type.tp_repr(number);
    if (!text)
        return -1;
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    int result = bytes ? put(e, bytes, size) : -1;
    Py_DECREF(text);
    return result;
}

static int encode_list(struct encoder *e, PyObject *list) {
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
    if (put(e, "[", 1) < 0)
        return -1;
    e->depth++;
    for (Py_ssize_t i = 0; i < count; i++)
        if ((i && put(e, ",", 1) < 0) || put_newline(e) < 0 || encode_value(e, PySequence_Fast_GET_ITEM(list, i)) < 0)
            return -1;
    e->depth--;
    if (count && put_newline(e) < 0)
        return -1;
    return put(e, "]", 1);
}

static int encode_object(struct encoder *e, PyObject *dict) {
    Py_ssize_t position = 0, count = 0;
    PyObject *key, *value;
    if (put(e, "{", 1) < 0)
        return -1;
    e->depth++;
    while (PyDict_Next(dict, &position, &key, &value)) {
        if (!PyUnicode_Check(key)) {
            PyErr_SetString(PyExc_TypeError, "a key that is no str");
            return -1;
        }
        if ((count++ && put(e, ",", 1) < 0) || put_newline(e) < 0 || encode_string(e, key) < 0 || put(e, ": ", e->indent < 0 ? 1 : 2) < 0 ||
            encode_value(e, value) < 0)
            return -1;
    }
    e->depth--;
    if (count && put_newline(e) < 0)
        return -1;
    return put(e, "}", 1);
}

static int encode_value(struct encoder *e, PyObject *value) {
    if (PyUnicode_Check(value))
        return encode_string(e, value);
    if (value == Py_None)
        return put(e, "null", 4);
    if (value == Py_True)
        return put(e, "true", 4);
    if (value == Py_False)
        return put(e, "false", 5);
    if (PyLong_Check(value) || PyFloat_Check(value))
        return encode_number(e, value);
    if (e->depth >= JSON_DEPTH_LIMIT) {
        PyErr_SetString(PyExc_ValueError, "nested too deeply");
        return -1;
    }
    if (PyList_Check(value) || PyTuple_Check(value))
        return encode_list(e, value);
    if (PyDict_Check(value))
        return encode_object(e, value);
    PyErr_Format(PyExc_TypeError, "%s is nothing that JSON has", Py_TYPE(value)->tp_name);
    return -1;
}

PyObject *json_dumps(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    struct encoder e = {.indent = -1};
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "dumps(value, indent)");
        return NULL;
    }
    if (count == 2) {
        long indent = PyLong_AsLong(args[1]);
        if (indent == -1 && PyErr_Occurred())
            return NULL;
        e.indent = indent > 16 ? 16 : (int)indent;
    }
    PyObject *result = encode_value(&e, args[0]) < 0 ? NULL : PyBytes_FromStringAndSize(e.bytes, e.size);
    PyMem_Free(e.bytes);
    return result;
}
