/* MD5 (RFC 1321) of several messages at a time, one in each lane of the vectors.

   Included once for each instruction set, with these defined before:
   LANES     how many messages;
   WORD      the type of LANES words of 32 bits;
   COMPRESS  the name of the function;
   TARGET    what the compiler must know to use the instructions. */

#define MIX_1(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MIX_2(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#define MIX_3(x, y, z) ((x) ^ (y) ^ (z))
#define MIX_4(x, y, z) ((y) ^ ((x) | ~(z)))
#define STEP(mixed, a, b, word, i, turn) \
    a += (mixed) + word + MD5_SINES[i];  \
    a = b + (a << turn | a >> (32 - turn));
/* Four steps from step i on; the words of a round are `stride` apart, from `first` on. */
#define FOUR_STEPS(MIX, i, stride, first, t0, t1, t2, t3)                                    \
    STEP(MIX(b, c, d), a, b, words[(stride * (i) + first) % 16], i, t0)                      \
    STEP(MIX(a, b, c), d, a, words[(stride * ((i) + 1) + first) % 16], (i) + 1, t1)          \
    STEP(MIX(d, a, b), c, d, words[(stride * ((i) + 2) + first) % 16], (i) + 2, t2)          \
    STEP(MIX(c, d, a), b, c, words[(stride * ((i) + 3) + first) % 16], (i) + 3, t3)
#define ROUND(MIX, i, stride, first, t0, t1, t2, t3)             \
    FOUR_STEPS(MIX, i, stride, first, t0, t1, t2, t3)            \
    FOUR_STEPS(MIX, (i) + 4, stride, first, t0, t1, t2, t3)      \
    FOUR_STEPS(MIX, (i) + 8, stride, first, t0, t1, t2, t3)      \
    FOUR_STEPS(MIX, (i) + 12, stride, first, t0, t1, t2, t3)

/* Advance the states by n_blocks blocks of 64 bytes from each of LANES places.

   `states` are the first words of all lanes, then the second ones, and so on. */
TARGET static void COMPRESS(uint32_t *states, const uint8_t *const *places, size_t n_blocks)
{
    WORD a, b, c, d, words[16];
    memcpy(&a, states, sizeof a);
    memcpy(&b, states + LANES, sizeof b);
    memcpy(&c, states + 2 * LANES, sizeof c);
    memcpy(&d, states + 3 * LANES, sizeof d);
    for (size_t block = 0; block < n_blocks; block++) {
        uint32_t across[16][LANES];
        for (int lane = 0; lane < LANES; lane++) {
            const uint8_t *place = places[lane] + 64 * block;
            for (int i = 0; i < 16; i++)
                across[i][lane] = md5_load(place + 4 * i);
        }
        memcpy(words, across, sizeof words);
        const WORD a_before = a, b_before = b, c_before = c, d_before = d;
        ROUND(MIX_1, 0, 1, 0, 7, 12, 17, 22)
        ROUND(MIX_2, 16, 5, 1, 5, 9, 14, 20)
        ROUND(MIX_3, 32, 3, 5, 4, 11, 16, 23)
        ROUND(MIX_4, 48, 7, 0, 6, 10, 15, 21)
        a += a_before;
        b += b_before;
        c += c_before;
        d += d_before;
    }
    memcpy(states, &a, sizeof a);
    memcpy(states + LANES, &b, sizeof b);
    memcpy(states + 2 * LANES, &c, sizeof c);
    memcpy(states + 3 * LANES, &d, sizeof d);
}

#undef MIX_1
#undef MIX_2
#undef MIX_3
#undef MIX_4
#undef STEP
#undef FOUR_STEPS
#undef ROUND
#undef LANES
#undef WORD
#undef COMPRESS
#undef TARGET
