/* A vocabulary without a Python object for each token: its texts one behind the other, entries, and look-ups. */
#include <stdlib.h>

/* ODD: not the plain kind, or it goes on behind the end. */
typedef enum { DONE, ODD, NO_MEMORY } Result;

enum {
    ROOM = 16,       /* bytes behind a text that may be looked at */
    SINGLES = 0x200, /* the characters before this one are looked up by their place; GPT-2's signs for bytes are there */
    LONG = 20000,    /* tokens */
    SEARCHES = 40,   /* of 60 us each for 128,000 tokens; then a hash table pays */
    MAX_SPARE = 1 << 22, /* bytes */
};

typedef struct {
    uint32_t start;  /* of its text in ``texts`` */
    uint32_t length; /* bytes of UTF-8 */
    uint32_t id;
} Entry;

typedef struct {
    PyObject_HEAD
    PyObject *selected; /* dict, once asked for */
    uint8_t *texts;     /* one behind the other, unescaped */
    size_t texts_size, texts_room;
    Entry *entries;
    size_t count, room;
    uint32_t *chosen; /* the entries that select() gives */
    size_t chosen_count, chosen_room;
    uint32_t singles[SINGLES]; /* the entry of each single character plus one */
    int twice; /* there are two of a single character */
    uint32_t *slots; /* a hash table, where there is one */
    uint32_t mask;
    int begun;       /* the opening bracket was read */
    int is_list;     /* the ids are positions */
    int unordered;   /* the ids do not ascend */
    uint32_t last;   /* the id that was read last */
    int searches;    /* texts looked up without a hash table */
    uint32_t begins[256]; /* of the texts that begin with a byte: bit n is set where one has n bytes, or n + 32 ... */
    uint32_t *by_id; /* the first entry of each id plus one; NULL where they ascend */
    Py_ssize_t size, ids, max_id, end;
} Vocab;

static PyObject *vocab_type;
static uint64_t secret[2]; /* without it nobody can write texts that collide */

/* The strings that padfix.read.vocab.wanted keeps. */
static const char first_wanted[] = "<[{(_>m", last_wanted[] = ">])}_<0123456789";
static uint8_t is_first[256], is_last[256];

static inline int wanted(const uint8_t *text, size_t length) {
    return length > 2 && is_first[text[0]] && is_last[text[length - 1]];
}

/* The character that a text consists of, SINGLES for any other text. */
static inline size_t single(const uint8_t *text, size_t length) {
    if (length == 1)
        return text[0];
    return length == 2 && text[0] >= 0xC2 && text[0] <= 0xC7 ? (text[0] & 0x1Fu) << 6 | (text[1] & 0x3Fu) : SINGLES;
}

static const uint8_t *text_of(const Vocab *self, const Entry *entry) { return self->texts + entry->start; }

/* Room for so many more items of an array; ``array`` is the address of the pointer to it, of whichever type. */
static Result grow(void *array, size_t *room, size_t used, size_t more, size_t item) {
    if (used + more <= *room)
        return DONE;
    size_t wider = *room * 2 > used + more + 1024 ? *room * 2 : used + more + 1024;
    void *moved;
    if (wider > PTRDIFF_MAX / item)
        return NO_MEMORY;
    memcpy(&moved, array, sizeof moved);
    moved = realloc(moved, wider * item);
    if (moved == NULL)
        return NO_MEMORY;
    memcpy(array, &moved, sizeof moved);
    *room = wider;
    return DONE;
}

static uint64_t mixed(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t high = (a >> 32) * (b >> 32), low = (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
    uint64_t cross = (a >> 32) * (b & 0xFFFFFFFF) + (low >> 32), rest = (a & 0xFFFFFFFF) * (b >> 32) + (cross & 0xFFFFFFFF);
    return (a * b) ^ (high + (cross >> 32) + (rest >> 32));
#endif
}

static const uint8_t first_bytes[32] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

/* ``room``: bytes that may be looked at, at least ``length``. */
static inline uint32_t hash_of(const uint8_t *text, size_t length, size_t room) {
    uint64_t state = secret[0] ^ length, words[2] = {0, 0};
    for (; length > 16; text += 16, length -= 16, room -= 16) {
        memcpy(words, text, 16);
        state = mixed(words[0] ^ secret[1], words[1] ^ state);
    }
    if (room >= 16) {
        uint64_t kept[2];
        memcpy(kept, first_bytes + 16 - length, 16);
        memcpy(words, text, 16);
        words[0] &= kept[0];
        words[1] &= kept[1];
    } else {
        words[0] = words[1] = 0;
        memcpy(words, text, length);
    }
    return (uint32_t)mixed(words[0] ^ secret[1], words[1] ^ state);
}

/* Put the text behind an opening quote at the end of ``texts``; the closing quote, NULL for what is no string of JSON. */
static const uint8_t *read_any_text(Vocab *self, const uint8_t *p, const uint8_t *end, size_t *length) {
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    size_t used = self->texts_size;
    int wide = 0;
    while (p < end && *p != '"') {
        if (grow(&self->texts, &self->texts_room, used, 2 * ROOM, 1))
            return NULL;
        uint8_t *to = self->texts + used;
#ifdef SSE
        if (end - p >= 16 && *p != '\\') {
            __m128i x = _mm_loadu_si128((const __m128i *)p);
            unsigned stop = special_bytes(x) | 0x10000, inside = (stop & -stop) - 1;
            _mm_storeu_si128((__m128i *)to, x);
            wide |= _mm_movemask_epi8(x) & (int)inside;
            if (inside) {
                p += __builtin_ctz(stop);
                used += (size_t)__builtin_ctz(stop);
                continue;
            }
        }
#endif
        if (*p < 0x20)
            return NULL;
        if (*p != '\\') {
            wide |= *p & 0x80;
            *to = *p++;
            used++;
            continue;
        }
        if (end - p < 2)
            return NULL;
        long code;
        if (p[1] == 'u') {
            code = hexadecimal(p + 2, end);
            if (code < 0)
                return NULL;
            p += 6;
            if (code >= 0xD800 && code < 0xE000) { /* half of a pair */
                long low = end - p >= 2 && p[0] == '\\' && p[1] == 'u' ? hexadecimal(p + 2, end) : -1;
                if (code >= 0xDC00 || low < 0xDC00 || low > 0xDFFF)
                    return NULL;
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                p += 6;
            }
        } else {
            const char *named = p[1] ? strchr(names, p[1]) : NULL;
            if (named == NULL)
                return NULL;
            code = meant[named - names];
            p += 2;
        }
        used = (size_t)(write_character(to, code) - self->texts);
    }
    *length = used - self->texts_size;
    if (p == end || (wide && !is_utf8(self->texts + self->texts_size, self->texts + used)))
        return NULL;
    return p;
}

/* The same; most texts are short and plain. */
static inline const uint8_t *read_text(Vocab *self, const uint8_t *p, const uint8_t *end, size_t *length) {
    if (grow(&self->texts, &self->texts_room, self->texts_size, 2 * ROOM, 1))
        return NULL;
#ifdef SSE
    if (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        unsigned stop = special_bytes(x);
        if (stop) {
            const uint8_t *at = p + __builtin_ctz(stop);
            if (*at == '"' && are_characters(x, (stop & -stop) - 1)) {
                _mm_storeu_si128((__m128i *)(self->texts + self->texts_size), x);
                *length = (size_t)(at - p);
                return at;
            }
        }
    }
#endif
    return read_any_text(self, p, end, length);
}

/* The highest id so far; while ids count up, that is the last. */
static void note_highest(Vocab *self) {
    if (self->count && (Py_ssize_t)self->last > self->max_id)
        self->max_id = (Py_ssize_t)self->last;
}

/* Note the text that was read, of ``length`` bytes at the end of ``texts``, with ROOM bytes behind it. */
static inline Result add_entry(Vocab *self, size_t length, uint32_t id) {
    const uint8_t *text = self->texts + self->texts_size;
    if (wanted(text, length)) {
        if (grow(&self->chosen, &self->chosen_room, self->chosen_count, 1, sizeof(uint32_t)))
            return NO_MEMORY;
        self->chosen[self->chosen_count++] = (uint32_t)self->count;
    } else if (length < 3 && single(text, length) < SINGLES) {
        uint32_t *place = &self->singles[single(text, length)];
        self->twice |= *place != 0;
        *place = (uint32_t)self->count + 1;
    }
    if (grow(&self->entries, &self->room, self->count, 1, sizeof(Entry)))
        return NO_MEMORY;
    self->last = id;
    self->begins[length ? *text : 0] |= (uint32_t)1 << (length & 31);
    self->entries[self->count++] = (Entry){(uint32_t)self->texts_size, (uint32_t)length, id};
    self->texts_size += length;
    return DONE;
}

/* The place of a text in the hash table: its own, or the free one where it would be.
 * A slot holds the number of an entry plus one and, in the bits above, what is left of the hash. */
static inline uint32_t *slot_of(const Vocab *self, const uint8_t *text, size_t length, uint32_t hash) {
    for (uint32_t at = hash & self->mask;; at = (at + 1) & self->mask) {
        uint32_t *slot = &self->slots[at];
        if (*slot == 0)
            return slot;
        if ((*slot ^ hash) & ~self->mask)
            continue;
        const Entry *entry = &self->entries[(*slot & self->mask) - 1];
        if (entry->length == length && memcmp(text_of(self, entry), text, length) == 0)
            return slot;
    }
}

/* The hash table, of a text that comes twice the last; ``twice``: whether there is one. */
static Result index_texts(Vocab *self, int *twice) {
    size_t slots = 16;
    while (slots < 2 * self->count)
        slots *= 2;
    self->slots = calloc(slots, sizeof(uint32_t));
    if (self->slots == NULL)
        return NO_MEMORY;
    self->mask = (uint32_t)(slots - 1);
    for (size_t i = 0; i < self->count; i++) {
        const Entry *entry = &self->entries[i];
        const uint8_t *text = text_of(self, entry);
        uint32_t hash = hash_of(text, entry->length, entry->length + ROOM);
        uint32_t *slot = slot_of(self, text, entry->length, hash);
        *twice |= *slot != 0;
        *slot = (uint32_t)(i + 1) | (hash & ~self->mask);
    }
    return DONE;
}

/* The last entry of a text. */
static const Entry *entry_of_text(Vocab *self, const uint8_t *text, size_t length) {
    int twice = 0;
    size_t character = single(text, length);
    if (character < SINGLES)
        return self->singles[character] ? &self->entries[self->singles[character] - 1] : NULL;
    if (!(self->begins[length ? *text : 0] >> (length & 31) & 1))
        return NULL;
    if (self->slots == NULL && (self->searches++ < SEARCHES || index_texts(self, &twice) != DONE)) {
        for (size_t i = self->count; i-- > 0;) {
            const Entry *entry = &self->entries[i];
            if (entry->length == length && memcmp(text_of(self, entry), text, length) == 0)
                return entry;
        }
        return NULL;
    }
    uint32_t slot = *slot_of(self, text, length, hash_of(text, length, length));
    return slot ? &self->entries[(slot & self->mask) - 1] : NULL;
}

/* Whether a text comes twice, so that another reader must say which counts: 8 ns for each, a third of all reading. A long
 * object whose ids count up is a library's own writing of a table, which has no string twice; only the strings that
 * matter are compared there. A list may hold a piece twice, and does. */
static Result check_texts(Vocab *self, int *twice) {
    if (self->is_list || self->count < LONG || self->unordered || (size_t)self->max_id != self->count - 1)
        return index_texts(self, twice);
    *twice = self->twice;
    Vocab chosen = *self;
    chosen.count = self->chosen_count;
    chosen.entries = malloc((chosen.count + 1) * sizeof(Entry));
    if (chosen.entries == NULL)
        return NO_MEMORY;
    for (size_t i = 0; i < chosen.count; i++)
        chosen.entries[i] = self->entries[self->chosen[i]];
    Result result = index_texts(&chosen, twice);
    free(chosen.entries);
    free(chosen.slots);
    return result;
}

/* How many ids there are, and a table of them where they do not ascend. */
static Result index_ids(Vocab *self) {
    note_highest(self);
    self->size = self->ids = (Py_ssize_t)self->count;
    if (!self->unordered)
        return DONE;
    if ((size_t)self->max_id / 16 > self->count + 65536)
        return ODD; /* a table for so few would be too large */
    self->by_id = calloc((size_t)self->max_id + 1, sizeof(uint32_t));
    if (self->by_id == NULL)
        return NO_MEMORY;
    self->ids = 0;
    for (size_t i = 0; i < self->count; i++) {
        uint32_t *first = &self->by_id[self->entries[i].id];
        self->ids += *first == 0;
        if (*first == 0)
            *first = (uint32_t)(i + 1);
    }
    return DONE;
}

static const Entry *entry_of_id(const Vocab *self, Py_ssize_t id) {
    if (id < 0 || id > self->max_id)
        return NULL;
    if (self->by_id)
        return self->by_id[id] ? &self->entries[self->by_id[id] - 1] : NULL;
    size_t low = 0, high = self->count; /* the first entry with this id or a higher one lies in low .. high */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((Py_ssize_t)self->entries[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < self->count && (Py_ssize_t)self->entries[low].id == id ? &self->entries[low] : NULL;
}
