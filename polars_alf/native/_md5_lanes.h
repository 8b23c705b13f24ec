/* MD5 (RFC 1321) of several messages at a time, one in each lane of the vectors.

   Included once for each instruction set, with these defined before:
   WIDTH     how many words of 32 bits a vector has;
   WORDS     the type of a vector;
   VECTORS   how many of them: a step waits for the one before, and another vector fills the wait;
   COMPRESS  the name of the function;
   TARGET    what the compiler must know to use the instructions. */

#define LANES (WIDTH * VECTORS)

/* The words of WIDTH rows from one column on become WIDTH vectors of the words of each column. */
#if WIDTH == 1
#define TRANSPOSE(words, rows) words[0] = rows[0];
#else
#ifdef __clang__
#define PICK(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define PICK(x, y, ...) __builtin_shuffle(x, y, (WORDS){__VA_ARGS__})
#endif
#if WIDTH == 4
#define EACH_FOUR(PATTERN) PATTERN(0)
#elif WIDTH == 8
#define EACH_FOUR(PATTERN) PATTERN(0), PATTERN(4)
#else
#define EACH_FOUR(PATTERN) PATTERN(0), PATTERN(4), PATTERN(8), PATTERN(12)
#endif
#define LOW_ONES(i) (i), WIDTH + (i), (i) + 1, WIDTH + (i) + 1
#define HIGH_ONES(i) LOW_ONES((i) + 2)
#define LOW_TWOS(i) (i), (i) + 1, WIDTH + (i), WIDTH + (i) + 1
#define HIGH_TWOS(i) LOW_TWOS((i) + 2)
#define FOUR(i) (i), (i) + 1, (i) + 2, (i) + 3
/* Each four rows, by fours of columns: what the instructions of all vectors do at once. */
#define TRANSPOSE_FOURS(to, from)                                               \
    for (int i = 0; i < WIDTH; i += 4) {                                        \
        const WORDS ab = PICK(from[i], from[i + 1], EACH_FOUR(LOW_ONES));       \
        const WORDS cd = PICK(from[i + 2], from[i + 3], EACH_FOUR(LOW_ONES));   \
        const WORDS ab_2 = PICK(from[i], from[i + 1], EACH_FOUR(HIGH_ONES));    \
        const WORDS cd_2 = PICK(from[i + 2], from[i + 3], EACH_FOUR(HIGH_ONES)); \
        to[i] = PICK(ab, cd, EACH_FOUR(LOW_TWOS));                              \
        to[i + 1] = PICK(ab, cd, EACH_FOUR(HIGH_TWOS));                         \
        to[i + 2] = PICK(ab_2, cd_2, EACH_FOUR(LOW_TWOS));                      \
        to[i + 3] = PICK(ab_2, cd_2, EACH_FOUR(HIGH_TWOS));                     \
    }
/* Then the fours themselves. */
#if WIDTH == 4
#define TRANSPOSE(words, rows) TRANSPOSE_FOURS(words, rows)
#elif WIDTH == 8
#define TRANSPOSE(words, rows)                                        \
    TRANSPOSE_FOURS(rows, rows)                                       \
    for (int i = 0; i < 4; i++) {                                     \
        words[i] = PICK(rows[i], rows[i + 4], FOUR(0), FOUR(8));      \
        words[i + 4] = PICK(rows[i], rows[i + 4], FOUR(4), FOUR(12)); \
    }
#else
#define EVEN(x, y) PICK(x, y, FOUR(0), FOUR(8), FOUR(16), FOUR(24))
#define ODD(x, y) PICK(x, y, FOUR(4), FOUR(12), FOUR(20), FOUR(28))
#define TRANSPOSE(words, rows)                                                      \
    TRANSPOSE_FOURS(rows, rows)                                                     \
    for (int i = 0; i < 4; i++) {                                                   \
        const WORDS even = EVEN(rows[i], rows[i + 4]), odd = ODD(rows[i], rows[i + 4]); \
        const WORDS even_2 = EVEN(rows[i + 8], rows[i + 12]);                       \
        const WORDS odd_2 = ODD(rows[i + 8], rows[i + 12]);                         \
        words[i] = EVEN(even, even_2);                                              \
        words[i + 4] = EVEN(odd, odd_2);                                            \
        words[i + 8] = ODD(even, even_2);                                           \
        words[i + 12] = ODD(odd, odd_2);                                            \
    }
#endif
#endif

#define MIX_1(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#if WIDTH == 1
/* A sum, of which the part without x need not wait for the step before. */
#define MIX_2(x, y, z) (((y) & ~(z)) + ((x) & (z)))
#else
#define MIX_2(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#endif
#define MIX_3(x, y, z) ((x) ^ (y) ^ (z))
#define MIX_4(x, y, z) ((y) ^ ((x) | ~(z)))
#define STEP(MIX, a, b, c, d, word, i, turn)                                  \
    for (int v = 0; v < VECTORS; v++)                                         \
        a[v] += MIX(b[v], c[v], d[v]) + words[v][(word) % 16] + MD5_SINES[i]; \
    for (int v = 0; v < VECTORS; v++)                                         \
        a[v] = b[v] + (a[v] << turn | a[v] >> (32 - turn));
/* Four steps from step i on; the words of a round are `stride` apart, from `first` on. */
#define FOUR_STEPS(MIX, i, stride, first, t0, t1, t2, t3)                     \
    STEP(MIX, a, b, c, d, stride * (i) + first, i, t0)                  \
    STEP(MIX, d, a, b, c, stride * ((i) + 1) + first, (i) + 1, t1)      \
    STEP(MIX, c, d, a, b, stride * ((i) + 2) + first, (i) + 2, t2)      \
    STEP(MIX, b, c, d, a, stride * ((i) + 3) + first, (i) + 3, t3)
#define ROUND(MIX, i, stride, first, t0, t1, t2, t3)             \
    FOUR_STEPS(MIX, i, stride, first, t0, t1, t2, t3)            \
    FOUR_STEPS(MIX, (i) + 4, stride, first, t0, t1, t2, t3)      \
    FOUR_STEPS(MIX, (i) + 8, stride, first, t0, t1, t2, t3)      \
    FOUR_STEPS(MIX, (i) + 12, stride, first, t0, t1, t2, t3)

/* Advance the states by n_blocks blocks of 64 bytes from each of LANES places.

   `states` are the first words of all lanes, then the second ones, and so on. */
TARGET static void COMPRESS(uint32_t *states, const uint8_t *const *places, size_t n_blocks)
{
    WORDS a[VECTORS], b[VECTORS], c[VECTORS], d[VECTORS], words[VECTORS][16];
    memcpy(a, states, sizeof a);
    memcpy(b, states + LANES, sizeof b);
    memcpy(c, states + 2 * LANES, sizeof c);
    memcpy(d, states + 3 * LANES, sizeof d);
    for (size_t block = 0; block < n_blocks; block++) {
        WORDS a_before[VECTORS], b_before[VECTORS], c_before[VECTORS], d_before[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            for (int column = 0; column < 16; column += WIDTH) {
                WORDS rows[WIDTH];
                for (int i = 0; i < WIDTH; i++)
                    LOAD(&rows[i], places[WIDTH * v + i] + 64 * block + 4 * column);
                WORDS *const to = &words[v][column];
                TRANSPOSE(to, rows)
            }
            a_before[v] = a[v];
            b_before[v] = b[v];
            c_before[v] = c[v];
            d_before[v] = d[v];
        }
        ROUND(MIX_1, 0, 1, 0, 7, 12, 17, 22)
        ROUND(MIX_2, 16, 5, 1, 5, 9, 14, 20)
        ROUND(MIX_3, 32, 3, 5, 4, 11, 16, 23)
        ROUND(MIX_4, 48, 7, 0, 6, 10, 15, 21)
        for (int v = 0; v < VECTORS; v++) {
            a[v] += a_before[v];
            b[v] += b_before[v];
            c[v] += c_before[v];
            d[v] += d_before[v];
        }
    }
    memcpy(states, a, sizeof a);
    memcpy(states + LANES, b, sizeof b);
    memcpy(states + 2 * LANES, c, sizeof c);
    memcpy(states + 3 * LANES, d, sizeof d);
}

#undef LANES
#undef TRANSPOSE
#undef TRANSPOSE_FOURS
#undef PICK
#undef EACH_FOUR
#undef LOW_ONES
#undef HIGH_ONES
#undef LOW_TWOS
#undef HIGH_TWOS
#undef FOUR
#undef EVEN
#undef ODD
#undef MIX_1
#undef MIX_2
#undef MIX_3
#undef MIX_4
#undef STEP
#undef FOUR_STEPS
#undef ROUND
#undef WIDTH
#undef WORDS
#undef VECTORS
#undef COMPRESS
#undef TARGET
