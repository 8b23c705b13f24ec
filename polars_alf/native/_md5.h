/* MD5 by the instruction sets of this machine, the best one chosen as the program runs. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MD5_BLOCK 64
#define MD5_DIGEST 16
#define MD5_MOST_LANES 32

/* The parts of the absolute sines of 1 to 64 radians, times 2**32. */
static const uint32_t MD5_SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

static const uint32_t MD5_START[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

/* GCC without this pragma leaves loops of a few turns as they are, and puts the words of three
   messages into vectors, both at a third of the speed. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("O3", "no-tree-slp-vectorize")
#endif

static inline uint32_t md5_load(const uint8_t *place)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    return (uint32_t)place[0] | (uint32_t)place[1] << 8 | (uint32_t)place[2] << 16
        | (uint32_t)place[3] << 24;
#else
    uint32_t word;
    memcpy(&word, place, 4);
    return word;
#endif
}

static inline void md5_store(uint8_t *place, uint64_t number, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        place[i] = (uint8_t)(number >> (8 * i));
}

#define WIDTH 1
#define WORDS uint32_t
#define VECTORS 1
#define COMPRESS md5_compress_one
#define TARGET
#define LOAD(to, place) *(to) = md5_load(place)
#include "_md5_lanes.h"
#define WIDTH 1
#define WORDS uint32_t
#define VECTORS 3
#define COMPRESS md5_compress_three
#define TARGET
#include "_md5_lanes.h"
#undef LOAD
#define LOAD(to, place) memcpy(to, place, sizeof *(to))

/* MSVC has no vectors that are written like numbers. */
#if defined(__GNUC__) && !defined(_MSC_VER) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define MD5_VECTORS
typedef uint32_t md5_words_4 __attribute__((vector_size(16)));
#define WIDTH 4
#define WORDS md5_words_4
#define VECTORS 4
#define COMPRESS md5_compress_baseline
#define TARGET
#include "_md5_lanes.h"
#if defined(__x86_64__) || defined(__i386__)
#define MD5_X86
typedef uint32_t md5_words_8 __attribute__((vector_size(32)));
typedef uint32_t md5_words_16 __attribute__((vector_size(64)));
#define WIDTH 8
#define WORDS md5_words_8
#define VECTORS 4
#define COMPRESS md5_compress_avx2
#define TARGET __attribute__((target("avx2")))
#include "_md5_lanes.h"
#define WIDTH 16
#define WORDS md5_words_16
#define VECTORS 2
#define COMPRESS md5_compress_avx512
#define TARGET __attribute__((target("avx512f")))
#include "_md5_lanes.h"
#endif
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

typedef struct {
    const char *name;
    int lanes;
    int few; /* messages below which what needs no vectors is faster: most lanes would be idle */
    void (*compress)(uint32_t *states, const uint8_t *const *places, size_t n_blocks);
} md5_instructions;

/* From the fastest to the slowest: 11, 5.7, 3.7 and 2.4 GB/s on an AMD EPYC of 2024, where one
   message alone has 0.9. */
static const md5_instructions MD5_INSTRUCTIONS[] = {
#ifdef MD5_X86
    {"avx512", 32, 7, md5_compress_avx512},
    {"avx2", 32, 13, md5_compress_avx2},
#endif
#ifdef MD5_VECTORS
    {"baseline", 16, 10, md5_compress_baseline},
#endif
    {"scalar", 3, 2, md5_compress_three},
};

#define MD5_N_INSTRUCTIONS (sizeof MD5_INSTRUCTIONS / sizeof *MD5_INSTRUCTIONS)

/* Whether this machine, and its system, have an instruction set. */
static int md5_has(const md5_instructions *set)
{
#ifdef MD5_X86
    __builtin_cpu_init();
    if (set->compress == md5_compress_avx512)
        return __builtin_cpu_supports("avx512f") != 0;
    if (set->compress == md5_compress_avx2)
        return __builtin_cpu_supports("avx2") != 0;
#endif
    (void)set;
    return 1;
}

/* Return the instruction set of a name, the fastest for NULL; else raise ValueError. */
static const md5_instructions *md5_find(const char *name)
{
    for (size_t i = 0; i < MD5_N_INSTRUCTIONS; i++) {
        const md5_instructions *set = &MD5_INSTRUCTIONS[i];
        if ((name == NULL || strcmp(name, set->name) == 0) && md5_has(set))
            return set;
    }
    PyErr_Format(PyExc_ValueError, "this machine has no instruction set %s", name);
    return NULL;
}

/* Write the end of a message of n_bytes, of which `n_last` are in its last block already.

   `blocks` has room for two; return how many there are. */
static int md5_pad(uint8_t *blocks, size_t n_last, uint64_t n_bytes)
{
    int n_blocks = n_last + 9 <= MD5_BLOCK ? 1 : 2;
    blocks[n_last] = 0x80;
    memset(blocks + n_last + 1, 0, (size_t)n_blocks * MD5_BLOCK - 8 - n_last - 1);
    md5_store(blocks + (size_t)n_blocks * MD5_BLOCK - 8, n_bytes << 3, 8);
    return n_blocks;
}

/* Write the digest of one of `lanes` states. */
static void md5_write_digest(uint8_t *digest, const uint32_t *states, int lanes, int lane)
{
    for (int i = 0; i < 4; i++)
        md5_store(digest + 4 * i, states[i * lanes + lane], 4);
}

static void md5_start(uint32_t *states, int lanes)
{
    for (int i = 0; i < 4 * lanes; i++)
        states[i] = MD5_START[i / lanes];
}

static PyObject *list_instruction_sets(PyObject *self, PyObject *args)
{
    (void)self, (void)args;
    PyObject *names = PyList_New(0);
    for (size_t i = 0; names != NULL && i < MD5_N_INSTRUCTIONS; i++) {
        if (!md5_has(&MD5_INSTRUCTIONS[i]))
            continue;
        PyObject *name = PyUnicode_FromString(MD5_INSTRUCTIONS[i].name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}
