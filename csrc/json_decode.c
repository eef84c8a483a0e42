/* JSON text -> Python objects. */

#include "json.h"

#define KEY_CACHE 128

struct decoder {
    const char *start, *at, *end; /* *end is '\0': reading the byte at `at` is always safe */
    int depth;
    PyObject *keys[KEY_CACHE]; /* the same few keys occur hundreds of times in a config */
};

static PyObject *decode_value(struct decoder *d);

/* Raises ValueError "line L column C: WHAT". Columns count characters, from 1. found: adds ", found CHARACTER". */
static PyObject *fault(struct decoder *d, const char *at, int found, const char *what) {
    int line = 1, column = 1;
    for (const char *p = d->start; p < at; p++) {
        if (*p == '\n')
            line++, column = 1;
        else if ((*p & 0xc0) != 0x80)
            column++;
    }
    if (!found)
        return PyErr_Format(PyExc_ValueError, "line %d column %d: %s", line, column, what);
    if (at >= d->end)
        return PyErr_Format(PyExc_ValueError, "line %d column %d: %s, found the end of the file", line, column, what);

    int size = 1;
    while (at + size < d->end && (at[size] & 0xc0) == 0x80)
        size++;
    PyObject *character = PyUnicode_DecodeUTF8(at, size, "replace");
    if (character) {
        PyErr_Format(PyExc_ValueError, "line %d column %d: %s, found %R", line, column, what, character);
        Py_DECREF(character);
    }
    return NULL;
}

static void skip_space(struct decoder *d) {
    while (*d->at == ' ' || *d->at == '\n' || *d->at == '\t' || *d->at == '\r')
        d->at++;
}

static int hex4(const char *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value << 4 | (lower - 'a' + 10);
        else
            return -1; /* also at the '\0' that ends the text, so nothing behind it is read */
    }
    return value;
}

char *json_put_utf8(char *out, unsigned c) {
    if (c < 0x80) {
        *out++ = c;
    } else if (c < 0x800) {
        *out++ = 0xc0 | c >> 6;
        *out++ = 0x80 | (c & 0x3f);
    } else if (c < 0x10000) {
        *out++ = 0xe0 | c >> 12;
        *out++ = 0x80 | (c >> 6 & 0x3f);
        *out++ = 0x80 | (c & 0x3f);
    } else {
        *out++ = 0xf0 | c >> 18;
        *out++ = 0x80 | (c >> 12 & 0x3f);
        *out++ = 0x80 | (c >> 6 & 0x3f);
        *out++ = 0x80 | (c & 0x3f);
    }
    return out;
}

/* Python holds a byte of a file name that is not UTF-8 as one of U+DC80 .. U+DCFF (surrogateescape). state.json has such names,
 * and reading it must give the same byte. */
static int is_raw_byte(int code) {
    return code >= 0xdc80 && code < 0xdd00;
}

/* The code point of the \uXXXX at d->at (just behind the u), or of the surrogate pair that begins there; -1 with an error set.
 * A surrogate without its other half becomes U+FFFD, as in Go, unless it is a raw byte. */
static int unicode_escape(struct decoder *d) {
    int c = hex4(d->at);
    if (c < 0) {
        fault(d, d->at - 2, 0, "\\u without four hexadecimal digits");
        return -1;
    }
    d->at += 4;
    if (c >= 0xd800 && c < 0xdc00 && d->at[0] == '\\' && d->at[1] == 'u') {
        int low = hex4(d->at + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            d->at += 6;
            return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    if (c >= 0xd800 && c < 0xe000 && !is_raw_byte(c))
        return 0xfffd;
    return c;
}

static PyObject *text_of(struct decoder *d, const char *from, const char *bytes, Py_ssize_t size, const char *errors) {
    PyObject *text = PyUnicode_DecodeUTF8(bytes, size, errors);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        return fault(d, from, 0, "a string that is not UTF-8");
    }
    return text;
}

/* The characters behind a backslash, and what each stands for. */
static const char ESCAPES[] = "\"\\/bfnrt", ESCAPED[] = "\"\\/\b\f\n\r\t";

/* A string with escapes, from `from` (behind the opening quote); d->at is at the first backslash. */
static PyObject *escaped_string(struct decoder *d, const char *from) {
    const char *close = d->at;
    while (close < d->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= d->end)
        return fault(d, from - 1, 0, "a string that does not end");

    char *buffer = PyMem_Malloc(close - from + 1), *out = buffer; /* no escape is shorter than what it stands for */
    if (!buffer)
        return PyErr_NoMemory();
    memcpy(out, from, d->at - from);
    out += d->at - from;

    PyObject *text = NULL;
    int raw = 0;
    while (*d->at != '"') {
        unsigned char c = *d->at++;
        if (c < 0x20) {
            fault(d, d->at - 1, 0, "a control character in a string");
            goto out;
        }
        if (c != '\\') {
            *out++ = c;
            continue;
        }
        char escape = *d->at++;
        const char *simple = escape ? strchr(ESCAPES, escape) : NULL;
        if (simple) {
            *out++ = ESCAPED[simple - ESCAPES];
        } else if (escape == 'u') {
            int code = unicode_escape(d);
            if (code < 0)
                goto out;
            if (is_raw_byte(code))
                *out++ = code, raw = 1;
            else
                out = json_put_utf8(out, code);
        } else {
            fault(d, d->at - 2, 0, "an unknown escape in a string");
            goto out;
        }
    }
    d->at++;
    if (raw) { /* "surrogateescape" accepts any byte, so the input itself is checked first */
        text = text_of(d, from, from, close - from, NULL);
        if (!text)
            goto out;
        Py_DECREF(text);
    }
    text = text_of(d, from, buffer, out - buffer, raw ? "surrogateescape" : NULL);
out:
    PyMem_Free(buffer);
    return text;
}

/* The end of the plain run at `p`: the first quote, backslash, control character or byte beyond ASCII. */
static const char *plain_end(const char *p) {
    while ((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

static PyObject *ascii_string(const char *from, Py_ssize_t size) {
    PyObject *text = PyUnicode_New(size, 127);
    if (text)
        memcpy(PyUnicode_1BYTE_DATA(text), from, size);
    return text;
}

/* d->at is at the opening quote. */
static PyObject *decode_string(struct decoder *d) {
    const char *from = ++d->at, *p = plain_end(from);
    if (*p == '"') {
        d->at = p + 1;
        return ascii_string(from, p - from);
    }
    while ((unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
        p++;
    d->at = p;
    if (*p == '\\')
        return escaped_string(d, from);
    if (*p != '"')
        return p >= d->end ? fault(d, from - 1, 0, "a string that does not end") : fault(d, p, 0, "a control character in a string");
    d->at = p + 1;
    return text_of(d, from, from, p - from, NULL);
}

/* As decode_string, but equal short keys are one interned object: a look-up in a dict then compares pointers. */
static PyObject *decode_key(struct decoder *d) {
    const char *from = d->at + 1, *p = plain_end(from);
    Py_ssize_t size = p - from;
    if (*p != '"' || size == 0 || size > 40)
        return decode_string(d);

    unsigned slot = (size * 31 + (unsigned char)from[0] * 7 + (unsigned char)from[size / 2] * 13 + (unsigned char)p[-1]) % KEY_CACHE;
    PyObject *key = d->keys[slot];
    if (!key || PyUnicode_GET_LENGTH(key) != size || memcmp(PyUnicode_1BYTE_DATA(key), from, size) != 0) {
        key = ascii_string(from, size);
        if (!key)
            return NULL;
        PyUnicode_InternInPlace(&key);
        Py_XDECREF(d->keys[slot]);
        d->keys[slot] = key;
    }
    d->at = p + 1;
    Py_INCREF(key);
    return key;
}

static int digits(struct decoder *d) {
    const char *from = d->at;
    while (*d->at >= '0' && *d->at <= '9')
        d->at++;
    return d->at > from;
}

static PyObject *decode_number(struct decoder *d) {
    const char *from = d->at;
    int whole = 1;
    if (*d->at == '-')
        d->at++;
    if (*d->at == '0')
        d->at++;
    else if (!digits(d))
        return fault(d, d->at, 1, "expected a digit");
    if (*d->at == '.') {
        whole = 0;
        d->at++;
        if (!digits(d))
            return fault(d, d->at, 1, "expected a digit");
    }
    if (*d->at == 'e' || *d->at == 'E') {
        whole = 0;
        d->at++;
        if (*d->at == '+' || *d->at == '-')
            d->at++;
        if (!digits(d))
            return fault(d, d->at, 1, "expected a digit");
    }
    if (*d->at >= '0' && *d->at <= '9')
        return fault(d, from, 0, "a number with a leading zero");

    Py_ssize_t size = d->at - from;
    if (whole && size <= 18)
        return PyLong_FromLongLong(strtoll(from, NULL, 10));

    char *copy = PyMem_Malloc(size + 1);
    if (!copy)
        return PyErr_NoMemory();
    memcpy(copy, from, size);
    copy[size] = '\0';
    PyObject *number = NULL;
    if (whole) {
        number = PyLong_FromString(copy, NULL, 10);
    } else {
        double value = PyOS_string_to_double(copy, NULL, PyExc_OverflowError);
        if (value != -1.0 || !PyErr_Occurred())
            number = PyFloat_FromDouble(value);
    }
    PyMem_Free(copy);
    if (!number && (PyErr_ExceptionMatches(PyExc_OverflowError) || PyErr_ExceptionMatches(PyExc_ValueError))) {
        PyErr_Clear();
        return fault(d, from, 0, "a number out of range");
    }
    return number;
}

/* Reads what follows a value in a list or an object: 1 for a comma, 0 for `close`, -1 with an error set. */
static int more(struct decoder *d, char close, const char *expected) {
    skip_space(d);
    char c = *d->at;
    if (c != ',' && c != close) {
        fault(d, d->at, 1, expected);
        return -1;
    }
    d->at++;
    return c == ',';
}

static PyObject *decode_list(struct decoder *d) {
    PyObject *list = PyList_New(0);
    if (!list)
        return NULL;
    d->at++;
    skip_space(d);
    if (*d->at == ']') {
        d->at++;
        return list;
    }
    for (int again = 1; again;) {
        PyObject *value = decode_value(d);
        if (!value || PyList_Append(list, value) < 0) {
            Py_XDECREF(value);
            goto fail;
        }
        Py_DECREF(value);
        again = more(d, ']', "expected ',' or ']' behind an element");
        if (again < 0)
            goto fail;
    }
    return list;
fail:
    Py_DECREF(list);
    return NULL;
}

static PyObject *decode_object(struct decoder *d) {
    PyObject *dict = PyDict_New(), *key = NULL, *value = NULL;
    if (!dict)
        return NULL;
    d->at++;
    skip_space(d);
    if (*d->at == '}') {
        d->at++;
        return dict;
    }
    for (int again = 1; again;) {
        skip_space(d);
        if (*d->at != '"') {
            fault(d, d->at, 1, "expected a key in double quotes");
            goto fail;
        }
        key = decode_key(d);
        if (!key)
            goto fail;
        skip_space(d);
        if (*d->at != ':') {
            fault(d, d->at, 1, "expected ':' behind a key");
            goto fail;
        }
        d->at++;
        value = decode_value(d);
        if (!value || PyDict_SetItem(dict, key, value) < 0)
            goto fail;
        Py_CLEAR(key);
        Py_CLEAR(value);
        again = more(d, '}', "expected ',' or '}' behind a value");
        if (again < 0)
            goto fail;
    }
    return dict;
fail:
    Py_XDECREF(key);
    Py_XDECREF(value);
    Py_DECREF(dict);
    return NULL;
}

static PyObject *decode_word(struct decoder *d, const char *word, PyObject *value) {
    size_t size = strlen(word);
    if (strncmp(d->at, word, size) != 0)
        return fault(d, d->at, 1, "expected a value");
    d->at += size;
    Py_INCREF(value);
    return value;
}

static PyObject *decode_value(struct decoder *d) {
    skip_space(d);
    switch (*d->at) {
    case '"':
        return decode_string(d);
    case '{':
    case '[': {
        if (d->depth >= JSON_DEPTH_LIMIT)
            return fault(d, d->at, 0, "nested too deeply: more than 200 lists and objects in one another");
        d->depth++;
        PyObject *value = *d->at == '{' ? decode_object(d) : decode_list(d);
        d->depth--;
        return value;
    }
    case 't':
        return decode_word(d, "true", Py_True);
    case 'f':
        return decode_word(d, "false", Py_False);
    case 'n':
        return decode_word(d, "null", Py_None);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return decode_number(d);
    default:
        return fault(d, d->at, 1, "expected a value");
    }
}

PyObject *json_loads(PyObject *module, PyObject *text) {
    struct decoder d = {0};
    char *bytes = NULL;
    Py_ssize_t size;
    if (PyUnicode_Check(text))
        bytes = (char *)PyUnicode_AsUTF8AndSize(text, &size);
    else if (PyBytes_AsStringAndSize(text, &bytes, &size) < 0)
        bytes = NULL;
    if (!bytes)
        return NULL;
    d.start = d.at = bytes;
    d.end = bytes + size;

    PyObject *value = decode_value(&d);
    skip_space(&d);
    if (value && d.at < d.end) {
        Py_CLEAR(value);
        fault(&d, d.at, 1, "expected the end of the file");
    }
    for (int i = 0; i < KEY_CACHE; i++)
        Py_XDECREF(d.keys[i]);
    return value;
}
