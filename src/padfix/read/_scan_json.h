/* What JSON and UTF-8 look like: strings, numbers, and what is expected between two entries of a vocabulary.
 *
 * Each function gets a pointer and the end, and looks at nothing behind it.
 */
#include <stddef.h>
#include <stdint.h>
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

static int8_t digit_of[256]; /* hexadecimal, -1 for any other character */

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
    uint64_t words[4];
    memcpy(words, p, sizeof words);
    return (((words[0] ^ next->words[0]) & next->kept[0]) | ((words[1] ^ next->words[1]) & next->kept[1]) |
            ((words[2] ^ next->words[2]) & next->kept[2]) | ((words[3] ^ next->words[3]) & next->kept[3])) == 0;
}
