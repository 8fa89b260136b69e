/* The readers of vocabularies: a JSON object, a JSON list of pieces, a sentencepiece model. */

/* The readers of JSON get a part of a file, of which the next part is not there yet: ``at`` moves behind every entry that
 * was read whole. */

#ifdef SSE
/* Read entries as long as what is expected follows their texts. ``p`` is behind the opening quote of a text, and so is
 * what is returned: of the first entry that is not like this. The expected bytes stay in registers, where only the last
 * digit changes for nine entries of ten; in memory each would wait for the byte that the one before it wrote. */
static const uint8_t *read_run(Vocab *self, Expected *next, const uint8_t *p, const uint8_t *end) {
    uint8_t *digits = (uint8_t *)next->words, last_digit[32] = {0};
    last_digit[next->last] = 1;
    const __m128i low_one = _mm_loadu_si128((__m128i *)last_digit), high_one = _mm_loadu_si128((__m128i *)last_digit + 1);
    __m128i low = _mm_loadu_si128((__m128i *)digits), high = _mm_loadu_si128((__m128i *)digits + 1);
    const int length = next->length;
    const unsigned wanted_bytes = next->wanted;
    int left = '9' - digits[next->last]; /* so often the last digit alone is counted up */
    for (;;) {
        size_t size;
        const uint8_t *behind = read_text(self, p, end, &size);
        if (behind == NULL || end - behind < 32)
            break;
        unsigned same = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)behind), low)) |
                        (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)behind + 1), high)) << 16;
        if ((~same & wanted_bytes) || add_entry(self, size, self->last + 1))
            break;
        p = behind + length;
        if (left-- > 0) {
            low = _mm_add_epi8(low, low_one);
            high = _mm_add_epi8(high, high_one);
            continue;
        }
        _mm_storeu_si128((__m128i *)digits, low);
        _mm_storeu_si128((__m128i *)digits + 1, high);
        if (!count_up(next)) { /* one digit more */
            expect(next, behind, behind + next->first, behind + next->last + 1, p, self->last);
            return p;
        }
        low = _mm_loadu_si128((__m128i *)digits);
        high = _mm_loadu_si128((__m128i *)digits + 1);
        left = 9;
    }
    _mm_storeu_si128((__m128i *)digits, low);
    _mm_storeu_si128((__m128i *)digits + 1, high);
    return p;
}
#endif

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
#ifdef SSE
        if (next.length) {
            p = read_run(self, &next, p, end);
            *at = p - 1;
        }
#endif
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
