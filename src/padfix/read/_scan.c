/* Large vocabularies without a Python object for each token.
 *
 * A vocabulary of 128,000 tokens costs 110 ms as a Python dictionary and 4 ms this way. Nothing here is needed to
 * be right: where it cannot be compiled, and for files that are not of the plain kind read here, padfix.read.plain_scan
 * and json do the same, and tests compare the two.
 *
 * Every byte comes from a stranger. A function that reads gets a pointer and the end, and looks at nothing behind it.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "_scan_json.h"
#include "_scan_vocab.h"
#include "_scan_read.h"

/* The memory of vocabularies that are no longer needed, for the next ones: fresh memory costs a tenth of all reading. */
static struct {
    uint8_t *texts;
    Entry *entries;
    size_t texts_room, room;
} spare[2];

static Vocab *new_vocab(void) {
    Vocab *self = PyObject_New(Vocab, (PyTypeObject *)vocab_type);
    if (self == NULL)
        return NULL;
    memset((char *)self + sizeof(PyObject), 0, sizeof(Vocab) - sizeof(PyObject));
    self->max_id = -1;
    for (size_t i = 0; i < sizeof spare / sizeof *spare && self->texts == NULL; i++) {
        self->texts = spare[i].texts;
        self->texts_room = spare[i].texts_room;
        self->entries = spare[i].entries;
        self->room = spare[i].room;
        memset(&spare[i], 0, sizeof spare[i]);
    }
    return self;
}

/* Give back a vocabulary's texts and entries. */
static void drop_texts(Vocab *self) {
    for (size_t i = 0; i < sizeof spare / sizeof *spare; i++)
        if (spare[i].texts == NULL && self->texts_room <= MAX_SPARE && self->room <= MAX_SPARE / sizeof(Entry)) {
            spare[i].texts = self->texts;
            spare[i].texts_room = self->texts_room;
            spare[i].entries = self->entries;
            spare[i].room = self->room;
            return;
        }
    free(self->texts);
    free(self->entries);
}

/* The vocabulary that was read, or None. */
static PyObject *finished(Vocab *self, Result result) {
    if (result == DONE)
        result = index_ids(self);
    int twice = 0;
    if (result == DONE)
        result = check_texts(self, &twice);
    if (result == DONE && !twice)
        return (PyObject *)self;
    Py_DECREF(self);
    if (result == NO_MEMORY)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Read a file part by part: ``more(position)`` gives bytes from there on, none at the end; ``first`` are bytes from the
 * file's beginning that are at hand. */
static PyObject *scan(PyObject *args, Result (*read)(Vocab *, const uint8_t **, const uint8_t *)) {
    PyObject *more, *first = NULL;
    Py_ssize_t position;
    if (!PyArg_ParseTuple(args, "On|S", &more, &position, &first))
        return NULL;
    Vocab *self = new_vocab();
    Result result = self == NULL ? NO_MEMORY : ODD;
    while (result == ODD && position < INT32_MAX) {
        char *bytes;
        Py_ssize_t size, skipped = 0;
        int is_first = first != NULL && position >= 0 && position < PyBytes_Size(first);
        if (is_first)
            skipped = position;
        PyObject *part = is_first ? Py_NewRef(first) : PyObject_CallFunction(more, "n", position);
        if (part == NULL || PyBytes_AsStringAndSize(part, &bytes, &size) < 0) {
            Py_XDECREF(part);
            Py_DECREF(self);
            return NULL;
        }
        const uint8_t *begin = (const uint8_t *)bytes + skipped, *at = begin;
        result = size > INT32_MAX ? ODD : read(self, &at, begin + (size - skipped)); /* places in texts have 32 bits */
        Py_DECREF(part);
        if (at == begin && !is_first)
            break; /* not even one entry */
        first = NULL;
        position += at - begin;
    }
    if (self == NULL)
        return NULL;
    self->end = position;
    return finished(self, result);
}

static PyObject *scan_object(PyObject *module, PyObject *args) {
    (void)module;
    return scan(args, read_object);
}

static PyObject *scan_pairs(PyObject *module, PyObject *args) {
    (void)module;
    return scan(args, read_pairs);
}

static void vocab_dealloc(Vocab *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    drop_texts(self);
    free(self->chosen);
    free(self->slots);
    free(self->by_id);
    Py_XDECREF(self->selected);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *unicode_of(const Vocab *self, const Entry *entry) {
    return PyUnicode_DecodeUTF8((const char *)text_of(self, entry), entry->length, "strict");
}

static PyObject *vocab_has_id(Vocab *self, PyObject *number) {
    Py_ssize_t id = PyNumber_AsSsize_t(number, NULL);
    if (id == -1 && PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(entry_of_id(self, id) != NULL);
}

static PyObject *vocab_text_of(Vocab *self, PyObject *number) {
    Py_ssize_t id = PyNumber_AsSsize_t(number, NULL);
    if (id == -1 && PyErr_Occurred())
        return NULL;
    const Entry *entry = entry_of_id(self, id);
    if (entry == NULL)
        Py_RETURN_NONE;
    return unicode_of(self, entry);
}

static PyObject *vocab_select(Vocab *self, PyObject *unused) {
    (void)unused;
    if (self->selected == NULL) {
        PyObject *selected = PyDict_New();
        for (size_t i = 0; selected && i < self->chosen_count; i++) {
            const Entry *entry = &self->entries[self->chosen[i]];
            PyObject *text = unicode_of(self, entry), *id = PyLong_FromUnsignedLong(entry->id);
            if (text == NULL || id == NULL || PyDict_SetItem(selected, text, id) < 0)
                Py_CLEAR(selected);
            Py_XDECREF(text);
            Py_XDECREF(id);
        }
        self->selected = selected;
    }
    Py_XINCREF(self->selected);
    return self->selected;
}

static PyObject *vocab_get(Vocab *self, PyObject *text) {
    Py_ssize_t length;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    if (utf8 == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return NULL;
        PyErr_Clear(); /* a lone surrogate, which no entry has */
        Py_RETURN_NONE;
    }
    if (wanted((const uint8_t *)utf8, (size_t)length)) { /* as most that are asked for */
        PyObject *selected = vocab_select(self, NULL), *id = NULL;
        if (selected != NULL && (id = PyDict_GetItemWithError(selected, text)) == NULL && !PyErr_Occurred())
            id = Py_None;
        Py_XINCREF(id);
        Py_XDECREF(selected);
        return id;
    }
    const Entry *entry = entry_of_text(self, (const uint8_t *)utf8, (size_t)length);
    if (entry == NULL)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLong(entry->id);
}

static PyObject *vocab_holds(Vocab *self, PyObject *texts) {
    PyObject *each = PyObject_GetIter(texts), *text;
    int all = 1;
    while (each && all && (text = PyIter_Next(each)) != NULL) {
        PyObject *id = vocab_get(self, text);
        Py_DECREF(text);
        if (id == NULL)
            Py_CLEAR(each);
        all = id != Py_None;
        Py_XDECREF(id);
    }
    if (each == NULL || PyErr_Occurred()) {
        Py_XDECREF(each);
        return NULL;
    }
    Py_DECREF(each);
    return PyBool_FromLong(all);
}

static PyObject *vocab_items(Vocab *self, PyObject *unused) {
    (void)unused;
    PyObject *items = PyList_New((Py_ssize_t)self->count);
    for (size_t i = 0; items && i < self->count; i++) {
        const Entry *entry = &self->entries[i];
        PyObject *item = Py_BuildValue("(s#I)", text_of(self, entry), (Py_ssize_t)entry->length, (unsigned)entry->id);
        if (item == NULL || PyList_SetItem(items, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(items);
    }
    return items;
}

static PyMethodDef vocab_methods[] = {
    {"get", (PyCFunction)vocab_get, METH_O, "The id of a string."},
    {"holds", (PyCFunction)vocab_holds, METH_O, "True when every one of these strings is there."},
    {"has_id", (PyCFunction)vocab_has_id, METH_O, "True when some string has this id."},
    {"text_of", (PyCFunction)vocab_text_of, METH_O, "The first string that has this id."},
    {"select", (PyCFunction)vocab_select, METH_NOARGS, "The entries that candidates are made of."},
    {"items", (PyCFunction)vocab_items, METH_NOARGS, "Every entry."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef vocab_members[] = {
    {"size", T_PYSSIZET, offsetof(Vocab, size), READONLY, "Entries."},
    {"strings", T_PYSSIZET, offsetof(Vocab, size), READONLY, "Distinct strings."},
    {"ids", T_PYSSIZET, offsetof(Vocab, ids), READONLY, "Distinct ids."},
    {"max_id", T_PYSSIZET, offsetof(Vocab, max_id), READONLY, "The highest id, -1 when there is none."},
    {"end", T_PYSSIZET, offsetof(Vocab, end), READONLY, "Where the file goes on behind the vocabulary."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot vocab_slots[] = {
    {Py_tp_doc, "A vocabulary without a Python object for each token."},
    {Py_tp_dealloc, vocab_dealloc},
    {Py_tp_methods, vocab_methods},
    {Py_tp_members, vocab_members},
    {0, NULL},
};

static PyType_Spec vocab_spec = {
    "padfix.read._scan.ScannedVocab", sizeof(Vocab), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, vocab_slots,
};

static PyObject *sentencepieces(PyObject *module, PyObject *data) {
    (void)module;
    uint8_t *kinds = NULL;
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(data, &bytes, &size) < 0)
        return NULL;
    Vocab *self = new_vocab();
    if (self == NULL)
        return NULL;
    const uint8_t *begin = (const uint8_t *)bytes;
    Result result = size > INT32_MAX ? ODD : read_pieces(self, begin, begin + size, &kinds);
    Py_ssize_t count = (Py_ssize_t)self->count;
    PyObject *vocab = finished(self, result), *found = NULL;
    if (vocab != NULL)
        found = Py_BuildValue("Ny#", vocab, kinds ? (char *)kinds : "", vocab == Py_None ? 0 : count);
    free(kinds);
    return found;
}

/* The same choice for a dictionary. */
static PyObject *select_wanted(PyObject *module, PyObject *table) {
    (void)module;
    PyObject *selected = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    if (selected == NULL)
        return NULL;
    if (!PyDict_Check(table)) {
        PyErr_SetString(PyExc_TypeError, "a dictionary of string -> id");
        Py_CLEAR(selected);
    }
    while (selected && PyDict_Next(table, &at, &key, &value)) {
        Py_ssize_t length = PyUnicode_GetLength(key);
        Py_UCS4 first = length > 2 ? PyUnicode_ReadChar(key, 0) : 0, last = length > 2 ? PyUnicode_ReadChar(key, length - 1) : 0;
        int keep = first < 0x80 && is_first[first] && last < 0x80 && is_last[last];
        if (length < 0 || (keep && PyDict_SetItem(selected, key, value) < 0))
            Py_CLEAR(selected);
    }
    return selected;
}

static PyMethodDef functions[] = {
    {"scan_object", scan_object, METH_VARARGS,
     "scan_object(more, start, first): the vocabulary of a JSON object of string -> id, or None for any other text."},
    {"scan_pairs", scan_pairs, METH_VARARGS,
     "scan_pairs(more, start, first): the vocabulary of a JSON array of [piece, score], or None for any other text."},
    {"sentencepieces", sentencepieces, METH_O,
     "sentencepieces(data): the pieces that a model begins with, None where one comes twice, and their kinds."},
    {"select", select_wanted, METH_O, "select(table): the entries of a dictionary that candidates are made of."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "padfix.read._scan", "Large vocabularies without a Python object for each token.", -1, functions,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__scan(void) {
    for (const char *c = first_wanted; *c; c++)
        is_first[(uint8_t)*c] = 1;
    for (const char *c = last_wanted; *c; c++)
        is_last[(uint8_t)*c] = 1;
    memset(digit_of, -1, sizeof digit_of);
    for (int i = 0; i < 16; i++)
        digit_of[(uint8_t)"0123456789abcdef"[i]] = digit_of[(uint8_t)"0123456789ABCDEF"[i]] = (int8_t)i;
    PyObject *os = PyImport_ImportModule("os"), *drawn = NULL, *module = NULL;
    char *bytes;
    if (os != NULL)
        drawn = PyObject_CallMethod(os, "urandom", "i", (int)sizeof secret);
    if (drawn != NULL && (bytes = PyBytes_AsString(drawn)) != NULL && PyBytes_Size(drawn) >= (Py_ssize_t)sizeof secret) {
        memcpy(secret, bytes, sizeof secret);
        vocab_type = PyType_FromSpec(&vocab_spec);
        module = vocab_type == NULL ? NULL : PyModule_Create(&definition);
    }
    if (module != NULL && PyModule_AddObjectRef(module, "ScannedVocab", vocab_type) < 0)
        Py_CLEAR(module);
    if (module == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_ImportError, "os.urandom gives fewer bytes than it was asked for");
    Py_XDECREF(os);
    Py_XDECREF(drawn);
    return module;
}
