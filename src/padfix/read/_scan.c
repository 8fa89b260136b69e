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

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__) && defined(__GNUC__)
#include <emmintrin.h>
#define SSE
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LITTLE 0
#else
#define LITTLE 1
#endif

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

/* ODD: not the plain kind, or it goes on behind the end. */
typedef enum { DONE, ODD, NO_MEMORY } Result;

enum {
    ROOM = 16,       /* bytes behind a text that may be looked at */
    LONG = 20000,    /* tokens */
    SEARCHES = 40,   /* of 60 us each for 128,000 tokens; then a hash table pays */
};

static PyObject *vocab_type;
static uint64_t secret[2]; /* without it nobody can write texts that collide */

/* The strings that padfix.read.vocab.wanted keeps. */
static const char first_wanted[] = "<[{(_>m", last_wanted[] = ">])}_<0123456789";
static uint8_t is_first[256], is_last[256];
static int8_t digit_of[256]; /* hexadecimal, -1 for any other character */

static inline int wanted(const uint8_t *text, size_t length) {
    if (length > 2)
        return is_first[text[0]] && is_last[text[length - 1]];
    if (length == 2 && text[0] >= 0xC2 && text[0] <= 0xC7)
        return 1; /* one character below U+0200 */
    if (length == 1)
        return text[0] >= ' ';
    return length == 2 && is_first[text[0]] && is_last[text[1]];
}

/* ---- JSON ---- */

static const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

#ifdef SSE
/* Which of 16 bytes end the plain part of a string: a quote, a backslash, a control character. */
static inline unsigned special_bytes(__m128i x) {
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
    __m128i other = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(control, other));
}

/* True where the first ``inside`` of these bytes are whole characters; false also for some that are, of rare scripts.
 * Half of all tokens hold such characters, so that every branch on them would be mispredicted. */
static inline int are_characters(__m128i x, unsigned inside) {
#define FROM(byte) ((unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(x, _mm_set1_epi8((char)((byte) - 1)))) & wide)
    unsigned wide = (unsigned)_mm_movemask_epi8(x) & inside, lead = FROM(0xC0), three = FROM(0xE0), four = FROM(0xF0);
    unsigned narrow = (unsigned)_mm_movemask_epi8(_mm_or_si128( /* after these, not every byte may follow */
        _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8((char)0xE0)), _mm_cmpeq_epi8(x, _mm_set1_epi8((char)0xED))),
        _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8((char)0xF0)), _mm_cmpeq_epi8(_mm_and_si128(x, _mm_set1_epi8((char)0xFE)), _mm_set1_epi8((char)0xC0)))));
    return ((wide ^ lead) == (lead << 1 | three << 2 | four << 3)) & !(narrow & inside) & !FROM(0xF4);
#undef FROM
}
#endif

static int is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        ptrdiff_t length = *p < 0xC2 ? 0 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : *p < 0xF5 ? 4 : 0;
        if (length == 0 || length > end - p || (p[1] & 0xC0) != 0x80)
            return 0;
        if (length > 2 && ((p[2] & 0xC0) != 0x80 || (p[length - 1] & 0xC0) != 0x80))
            return 0;
        if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F) || (*p == 0xF0 && p[1] < 0x90) ||
            (*p == 0xF4 && p[1] > 0x8F))
            return 0; /* longer than needed, a surrogate, or beyond the last character */
        p += length;
    }
    return 1;
}

/* Behind a number of the JSON grammar, NULL where there is none. */
static const uint8_t *skip_number(const uint8_t *p, const uint8_t *end) {
    if (end - p > 400)
        end = p + 400; /* longer ones are json's: Python refuses integers of 4,301 digits */
#define DIGITS                                                                                                        \
    if (p == end || *p < '0' || *p > '9')                                                                             \
        return NULL;                                                                                                  \
    while (p < end && *p >= '0' && *p <= '9')                                                                         \
        p++;
    if (p < end && *p == '-')
        p++;
    if (end - p >= 2 && *p == '0' && p[1] >= '0' && p[1] <= '9')
        return NULL;
    DIGITS
    if (p < end && *p == '.') {
        p++;
        DIGITS
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        DIGITS
    }
#undef DIGITS
    return p;
}

/* ---- entries ---- */

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

/* Four hexadecimal digits, negative where there are none. */
static long hexadecimal(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4)
        return -1;
    return (long)digit_of[p[0]] * 4096 | digit_of[p[1]] * 256 | digit_of[p[2]] * 16 | digit_of[p[3]];
}

/* A character as UTF-8. */
static uint8_t *write_character(uint8_t *to, long code) {
    if (code < 0x80) {
        *to++ = (uint8_t)code;
        return to;
    }
    if (code < 0x800) {
        *to++ = (uint8_t)(0xC0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *to++ = (uint8_t)(0xE0 | code >> 12);
        } else {
            *to++ = (uint8_t)(0xF0 | code >> 18);
            *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        }
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    }
    *to++ = (uint8_t)(0x80 | (code & 0x3F));
    return to;
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

/* Note the text that was read, of ``length`` bytes at the end of ``texts``, with ROOM bytes behind it. */
static void note_highest(Vocab *self) {
    if (self->count && (Py_ssize_t)self->last > self->max_id)
        self->max_id = (Py_ssize_t)self->last;
}

static inline Result add_entry(Vocab *self, size_t length, uint32_t id) {
    const uint8_t *text = self->texts + self->texts_size;
    if (wanted(text, length)) {
        if (grow(&self->chosen, &self->chosen_room, self->chosen_count, 1, sizeof(uint32_t)))
            return NO_MEMORY;
        self->chosen[self->chosen_count++] = (uint32_t)self->count;
    }
    if (grow(&self->entries, &self->room, self->count, 1, sizeof(Entry)))
        return NO_MEMORY;
    self->last = id;
    self->begins[length ? *text : 0] |= (uint32_t)1 << (length & 31);
    self->entries[self->count++] = (Entry){(uint32_t)self->texts_size, (uint32_t)length, id};
    self->texts_size += length;
    return DONE;
}

/* A whole number below 2**31 (a Py_ssize_t of 32 bits holds it), and behind it; NULL where there is none. */
static const uint8_t *read_id(const uint8_t *p, const uint8_t *end, uint32_t *id) {
    const uint8_t *digits = p;
    uint64_t value = 0;
#ifdef __GNUC__
    if (LITTLE && end - p >= 8) { /* up to seven digits, eight bytes at a time */
        uint64_t word, others;
        memcpy(&word, p, 8);
        word ^= 0x3030303030303030;
        others = ((word & 0x7F7F7F7F7F7F7F7F) + 0x7676767676767676) | word; /* top bits: which bytes are no digits */
        others &= 0x8080808080808080;
        if (others && !(others & 0x80) && (word & 0xFF)) {
            int width = __builtin_ctzll(others) >> 3;
            word <<= 64 - 8 * width;
            word = word * 10 + (word >> 8);
            *id = (uint32_t)(((word & 0x000000FF000000FF) * 0x000F424000000064 +
                              (word >> 16 & 0x000000FF000000FF) * 0x0000271000000001) >> 32);
            return p + width;
        }
    }
#endif
    while (p < end && *p >= '0' && *p <= '9' && p - digits < 10)
        value = value * 10 + (*p++ - '0');
    *id = (uint32_t)value;
    return p == digits || value > INT32_MAX || (*digits == '0' && p - digits > 1) ? NULL : p;
}

/* What is expected between the text of a token and the next one's: a quote, a colon, the next number, a comma, blanks
 * and a quote. Nearly every file counts its ids up and puts the same blanks everywhere, so this is nearly always there,
 * and looking for it costs a third of reading it. */
typedef struct {
    uint64_t words[4], kept[4]; /* the bytes, and which of them count; none where nothing is expected */
    unsigned wanted;
    int length, first, last;    /* bytes; the places of the number's first and last digit */
} Expected;

/* Expect what was read from ``stop`` to ``p``, where the digits lay in between, with the number after ``id``. */
static void expect(Expected *next, const uint8_t *stop, const uint8_t *digits, const uint8_t *behind, const uint8_t *p,
                   uint32_t id) {
    char bytes[32] = {0};
    ptrdiff_t room = (ptrdiff_t)sizeof bytes - (digits - stop) - (p - behind);
    int before = (int)(digits - stop), after = (int)(p - behind), width = 0;
    memset(next, 0, sizeof *next);
    if (id >= 999999999)
        return; /* ten digits: they would be counted up beyond 2**31 */
    for (uint32_t rest = id + 1; rest; rest /= 10)
        width++;
    if (width > room)
        return;
    memcpy(bytes, stop, (size_t)before);
    for (uint32_t rest = id + 1, at = (uint32_t)(before + width); rest; rest /= 10)
        bytes[--at] = (char)('0' + rest % 10);
    memcpy(bytes + before + width, behind, (size_t)after);
    next->length = before + width + after;
    next->wanted = (unsigned)(((uint64_t)1 << next->length) - 1);
    next->first = before;
    next->last = before + width - 1;
    memcpy(next->words, bytes, sizeof bytes);
    memset(bytes, 255, (size_t)next->length);
    memset(bytes + next->length, 0, sizeof bytes - (size_t)next->length);
    memcpy(next->kept, bytes, sizeof bytes);
}

/* Add one to the number that is expected, unless that makes it longer. */
static inline int count_up(Expected *next) {
    uint8_t *bytes = (uint8_t *)next->words;
    int place = next->last;
    for (; bytes[place] == '9'; bytes[place--] = '0')
        if (place == next->first)
            return 0;
    bytes[place]++;
    return 1;
}

static inline int is_there(const Expected *next, const uint8_t *p, const uint8_t *end) {
    if (end - p < 32 || next->length == 0)
        return 0;
#ifdef SSE
    const __m128i *words = (const __m128i *)next->words, *there = (const __m128i *)p;
    unsigned same = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(there), _mm_loadu_si128(words))) |
                    (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(there + 1), _mm_loadu_si128(words + 1))) << 16;
    return (~same & next->wanted) == 0;
#else
    uint64_t words[4];
    memcpy(words, p, sizeof words);
    return (((words[0] ^ next->words[0]) & next->kept[0]) | ((words[1] ^ next->words[1]) & next->kept[1]) |
            ((words[2] ^ next->words[2]) & next->kept[2]) | ((words[3] ^ next->words[3]) & next->kept[3])) == 0;
#endif
}

/* The readers below get a part of a file, of which the next part is not there yet: ``at`` moves behind every entry that
 * was read whole. */

/* {"token": id, ...} */
static Result read_object(Vocab *self, const uint8_t **at, const uint8_t *end) {
    Expected next = {{0}, {0}, 0, 0, 0, 0};
    const uint8_t *p = skip_blanks(*at, end);
    if (!self->begun) {
        if (p == end || *p++ != '{')
            return ODD;
        p = skip_blanks(p, end);
        if (p < end && *p == '}') {
            *at = p + 1;
            return DONE;
        }
        self->begun = 1;
        *at = p;
    }
    if (p == end || *p++ != '"')
        return ODD;
    for (;;) { /* p is behind the opening quote of a token, ``at`` before it */
        size_t length;
        const uint8_t *stop = read_text(self, p, end, &length);
        if (stop == NULL)
            return ODD;
        if (is_there(&next, stop, end)) {
            uint32_t id = self->last + 1;
            if (add_entry(self, length, id))
                return NO_MEMORY;
            p = stop + next.length;
            *at = p - 1;
            if (!count_up(&next))
                expect(&next, stop, stop + next.first, stop + next.last + 1, p, id);
            continue;
        }
        p = skip_blanks(stop + 1, end);
        if (p == end || *p++ != ':')
            return ODD;
        uint32_t id, due = self->count ? self->last + 1 : 0;
        const uint8_t *digits = skip_blanks(p, end), *behind = read_id(digits, end, &id);
        if (behind == NULL)
            return ODD;
        p = skip_blanks(behind, end);
        if (p == end || (*p != ',' && *p != '}'))
            return ODD;
        note_highest(self);
        self->unordered |= (Py_ssize_t)id <= self->max_id;
        if (add_entry(self, length, id))
            return NO_MEMORY;
        *at = p + 1;
        if (*p++ == '}')
            return DONE;
        p = skip_blanks(p, end);
        if (p == end || *p++ != '"')
            return ODD;
        if (id == due)
            expect(&next, stop, digits, behind, p, id);
        else
            next.length = 0; /* in another order, as sorted by the alphabet */
    }
}

/* [["piece", score], ...]: an id is a position. */
static Result read_pairs(Vocab *self, const uint8_t **at, const uint8_t *end) {
    self->is_list = 1;
    for (;;) {
        const uint8_t *p = skip_blanks(*at, end);
        size_t length;
        if (!self->begun) {
            if (p == end || *p++ != '[')
                return ODD;
            self->begun = 1;
            *at = p;
        }
        p = skip_blanks(p, end);
        if (p == end || *p++ != '[')
            return ODD;
        p = skip_blanks(p, end);
        if (p == end || *p++ != '"')
            return ODD;
        const uint8_t *stop = read_text(self, p, end, &length);
        if (stop == NULL)
            return ODD;
        p = skip_blanks(stop + 1, end);
        if (p == end || *p++ != ',')
            return ODD;
        p = skip_number(skip_blanks(p, end), end);
        if (p == NULL)
            return ODD;
        p = skip_blanks(p, end);
        if (p == end || *p++ != ']')
            return ODD;
        p = skip_blanks(p, end);
        if (p == end || (*p != ',' && *p != ']'))
            return ODD;
        if (add_entry(self, length, (uint32_t)self->count))
            return NO_MEMORY;
        *at = p + 1;
        if (*p == ']')
            return DONE;
    }
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

/* ---- Python ---- */

static Vocab *new_vocab(void) {
    Vocab *self = PyObject_New(Vocab, (PyTypeObject *)vocab_type);
    if (self == NULL)
        return NULL;
    memset((char *)self + sizeof(PyObject), 0, sizeof(Vocab) - sizeof(PyObject));
    self->max_id = -1;
    return self;
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

/* Read a file part by part: ``more(position)`` gives bytes from there on, none at the end. */
static PyObject *scan(PyObject *args, Result (*read)(Vocab *, const uint8_t **, const uint8_t *)) {
    PyObject *more;
    Py_ssize_t position;
    if (!PyArg_ParseTuple(args, "On", &more, &position))
        return NULL;
    Vocab *self = new_vocab();
    Result result = self == NULL ? NO_MEMORY : ODD;
    while (result == ODD && position < INT32_MAX) {
        char *bytes;
        Py_ssize_t size;
        PyObject *part = PyObject_CallFunction(more, "n", position);
        if (part == NULL || PyBytes_AsStringAndSize(part, &bytes, &size) < 0) {
            Py_XDECREF(part);
            Py_DECREF(self);
            return NULL;
        }
        const uint8_t *begin = (const uint8_t *)bytes, *at = begin;
        result = size > INT32_MAX ? ODD : read(self, &at, begin + size); /* places in texts have 32 bits */
        Py_DECREF(part);
        if (at == begin)
            break; /* not even one entry */
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
    free(self->texts);
    free(self->entries);
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

/* A protobuf number below 2**63 at *p; 0 where there is none. */
static int varint(const uint8_t **p, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; *p < end && shift < 63; shift += 7) {
        uint8_t byte = *(*p)++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return 1;
    }
    return 0;
}

/* The pieces that a sentencepiece model begins with: an id is a position. */
static Result read_pieces(Vocab *self, const uint8_t *p, const uint8_t *end, uint8_t **kinds) {
    self->is_list = 1;
    const uint8_t *begin = p;
    size_t room = 0;
    while (p < end && *p++ == 0x0A) { /* field 1 */
        uint64_t size, length = 0, kind = 1, number;
        if (!varint(&p, end, &size) || size > (uint64_t)(end - p))
            return DONE;
        const uint8_t *stop = p + size, *text = p;
        while (p < stop) {
            uint8_t key = *p++;
            if (key == 0x0A && varint(&p, stop, &length) && length <= (uint64_t)(stop - p) && is_utf8(p, p + length)) {
                text = p;
                p += length;
            } else if (key == 0x15 && stop - p >= 4) {
                p += 4; /* its score */
            } else if (key == 0x18 && varint(&p, stop, &number)) {
                kind = number < 255 ? number : 255;
            } else {
                return DONE; /* anything else is for the reader of all fields */
            }
        }
        if (grow(&self->texts, &self->texts_room, self->texts_size, (size_t)length + ROOM, 1) ||
            grow(kinds, &room, self->count, 1, 1))
            return NO_MEMORY;
        memcpy(self->texts + self->texts_size, text, (size_t)length);
        (*kinds)[self->count] = (uint8_t)kind;
        if (add_entry(self, (size_t)length, (uint32_t)self->count))
            return NO_MEMORY;
        self->end = p - begin;
    }
    return DONE;
}

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
        Py_UCS4 first = length > 0 ? PyUnicode_ReadChar(key, 0) : 0;
        int keep = length == 1 ? first >= ' ' && first < 0x200 : 0;
        if (length > 1 && first < 0x80 && is_first[first]) {
            Py_UCS4 last = PyUnicode_ReadChar(key, length - 1);
            keep = last < 0x80 && is_last[last];
        }
        if (length < 0 || (keep && PyDict_SetItem(selected, key, value) < 0))
            Py_CLEAR(selected);
    }
    return selected;
}

static PyMethodDef functions[] = {
    {"scan_object", scan_object, METH_VARARGS,
     "scan_object(more, start): the vocabulary of a JSON object of string -> id, or None for any other text."},
    {"scan_pairs", scan_pairs, METH_VARARGS,
     "scan_pairs(more, start): the vocabulary of a JSON array of [piece, score], or None for any other text."},
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
