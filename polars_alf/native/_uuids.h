/* UUIDs of version 3 (RFC 9562) for the rows of a column, as text or as the 16 bytes. */

#define UUID_TEXT 36

/* Names of up to so many blocks are gathered until there is one for each lane. */
#define UUID_MOST_BLOCKS 16

/* The texts of one column: of row i, number codes[i] or, without codes, number i. */
typedef struct {
    Py_buffer codes, offsets, text;
    size_t n_rows, n_texts;
} uuid_column;

typedef struct {
    const uint8_t *start;
    size_t n_bytes;
} uuid_piece;

/* The names of one number of blocks that wait for their lanes to be full. */
typedef struct {
    uint8_t *blocks;
    size_t rows[MD5_MOST_LANES];
    int n_names;
} uuid_bin;

typedef struct {
    const md5_instructions *instructions;
    uint8_t namespace[MD5_DIGEST];
    const uuid_column *first, *second; /* second is NULL where names are of one column */
    uint8_t *result;
    int as_digests;
    uuid_bin bins[UUID_MOST_BLOCKS + 1];
} uuid_job;

static void uuid_release_column(uuid_column *column)
{
    PyBuffer_Release(&column->codes);
    PyBuffer_Release(&column->offsets);
    PyBuffer_Release(&column->text);
}

/* Take the buffers of a tuple (codes or None, offsets, text); return -1 with an error set. */
static int uuid_get_column(PyObject *given, uuid_column *column)
{
    PyObject *codes, *offsets, *text;
    memset(column, 0, sizeof *column);
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a column is a tuple of codes or None, offsets, text");
        return -1;
    }
    if (!PyArg_ParseTuple(given, "OOO:make_uuids", &codes, &offsets, &text))
        return -1;
    if ((codes != Py_None && PyObject_GetBuffer(codes, &column->codes, PyBUF_ND) < 0)
        || PyObject_GetBuffer(offsets, &column->offsets, PyBUF_ND) < 0
        || PyObject_GetBuffer(text, &column->text, PyBUF_SIMPLE) < 0)
        goto failed;
    if (codes != Py_None && column->codes.itemsize != 4) {
        PyErr_SetString(PyExc_ValueError, "codes have 4 bytes each");
        goto failed;
    }
    if ((column->offsets.itemsize != 4 && column->offsets.itemsize != 8)
        || column->offsets.len < column->offsets.itemsize) {
        PyErr_SetString(
            PyExc_ValueError, "offsets have 4 or 8 bytes each, and there is one more than texts");
        goto failed;
    }
    column->n_texts = (size_t)(column->offsets.len / column->offsets.itemsize) - 1;
    column->n_rows = codes == Py_None ? column->n_texts : (size_t)column->codes.len / 4;
    return 0;
failed:
    uuid_release_column(column);
    return -1;
}

/* Find the text of a row; return 0 where the code or its offsets lie outside. */
static inline int uuid_find(const uuid_column *column, size_t row, uuid_piece *piece)
{
    size_t number = row;
    if (column->codes.obj != NULL) {
        uint32_t code;
        memcpy(&code, (const uint8_t *)column->codes.buf + 4 * row, 4);
        number = code;
    }
    if (number >= column->n_texts)
        return 0;
    const uint8_t *offsets = (const uint8_t *)column->offsets.buf;
    int64_t start, end;
    if (column->offsets.itemsize == 4) {
        int32_t pair[2];
        memcpy(pair, offsets + 4 * number, sizeof pair);
        start = pair[0], end = pair[1];
    } else {
        int64_t pair[2];
        memcpy(pair, offsets + 8 * number, sizeof pair);
        start = pair[0], end = pair[1];
    }
    if (start < 0 || end < start || end > column->text.len)
        return 0;
    /* The buffer of texts that are all empty may have no place. */
    piece->start = end > start ? (const uint8_t *)column->text.buf + start : NULL;
    piece->n_bytes = (size_t)(end - start);
    return 1;
}

static void uuid_write_text(uint8_t *to, const uint8_t *bytes)
{
    static const char DIGITS[] = "0123456789abcdef";
    for (int i = 0; i < MD5_DIGEST; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = (uint8_t)DIGITS[bytes[i] >> 4];
        *to++ = (uint8_t)DIGITS[bytes[i] & 0x0f];
    }
}

static void uuid_write(const uuid_job *job, size_t row, const uint32_t *states, int lanes, int lane)
{
    uint8_t digest[MD5_DIGEST];
    md5_write_digest(digest, states, lanes, lane);
    digest[6] = (digest[6] & 0x0f) | 0x30;
    digest[8] = (digest[8] & 0x3f) | 0x80;
    if (job->as_digests) {
        memcpy(job->result + MD5_DIGEST * row, digest, MD5_DIGEST);
        return;
    }
    uuid_write_text(job->result + UUID_TEXT * row, digest);
}

/* Digest the names of a bin, and empty it. */
static void uuid_flush(uuid_job *job, size_t n_blocks)
{
    uuid_bin *bin = &job->bins[n_blocks];
    const int lanes = job->instructions->lanes;
    uint32_t states[4 * MD5_MOST_LANES];
    const uint8_t *places[MD5_MOST_LANES];
    md5_start(states, lanes);
    for (int lane = 0; lane < lanes; lane++)
        places[lane] = bin->blocks + (lane < bin->n_names ? lane : 0) * n_blocks * MD5_BLOCK;
    job->instructions->compress(states, places, n_blocks);
    for (int lane = 0; lane < bin->n_names; lane++)
        uuid_write(job, bin->rows[lane], states, lanes, lane);
    bin->n_names = 0;
}

static inline uint8_t *uuid_append(uint8_t *to, const void *bytes, size_t n_bytes)
{
    if (n_bytes > 0)
        memcpy(to, bytes, n_bytes);
    return to + n_bytes;
}

/* Write a whole message, padded; return what follows it. */
static uint8_t *uuid_write_message(
    const uuid_job *job, uuid_piece first, uuid_piece second, size_t n_bytes, uint8_t *blocks)
{
    uint8_t *end = uuid_append(blocks, job->namespace, MD5_DIGEST);
    end = uuid_append(end, first.start, first.n_bytes);
    if (job->second != NULL) {
        *end++ = '/';
        end = uuid_append(end, second.start, second.n_bytes);
    }
    size_t n_last = n_bytes % MD5_BLOCK;
    uint8_t *last = end - n_last;
    return last + md5_pad(last, n_last, n_bytes) * MD5_BLOCK;
}

enum { UUID_DONE, UUID_OUTSIDE, UUID_NO_MEMORY };

/* Digest one row at once, its name being too long for a bin. */
static int uuid_digest_long(
    uuid_job *job, size_t row, uuid_piece first, uuid_piece second, size_t n_bytes)
{
    uint8_t *blocks = malloc(n_bytes + 2 * MD5_BLOCK);
    if (blocks == NULL)
        return UUID_NO_MEMORY;
    const uint8_t *start = blocks;
    uint32_t state[4];
    md5_start(state, 1);
    size_t n = (size_t)(uuid_write_message(job, first, second, n_bytes, blocks) - blocks);
    md5_compress_one(state, &start, n / MD5_BLOCK);
    uuid_write(job, row, state, 1, 0);
    free(blocks);
    return UUID_DONE;
}

/* Digest all rows; `row` is where it ended. */
static int uuid_digest_rows(uuid_job *job, size_t n_rows, size_t *row)
{
    for (*row = 0; *row < n_rows; ++*row) {
        uuid_piece first, second = {NULL, 0};
        if (!uuid_find(job->first, *row, &first)
            || (job->second != NULL && !uuid_find(job->second, *row, &second)))
            return UUID_OUTSIDE;
        if (second.n_bytes > SIZE_MAX - 4 * MD5_BLOCK - first.n_bytes)
            return UUID_NO_MEMORY;
        size_t n_bytes = MD5_DIGEST + first.n_bytes + (job->second != NULL) + second.n_bytes;
        size_t n_blocks = (n_bytes + 8) / MD5_BLOCK + 1;
        if (n_blocks > UUID_MOST_BLOCKS) {
            int outcome = uuid_digest_long(job, *row, first, second, n_bytes);
            if (outcome != UUID_DONE)
                return outcome;
            continue;
        }
        uuid_bin *bin = &job->bins[n_blocks];
        uint8_t *blocks = bin->blocks + bin->n_names * n_blocks * MD5_BLOCK;
        uuid_write_message(job, first, second, n_bytes, blocks);
        bin->rows[bin->n_names++] = *row;
        if (bin->n_names == job->instructions->lanes)
            uuid_flush(job, n_blocks);
    }
    for (size_t n_blocks = 1; n_blocks <= UUID_MOST_BLOCKS; n_blocks++)
        if (job->bins[n_blocks].n_names > 0)
            uuid_flush(job, n_blocks);
    return UUID_DONE;
}

/* make_uuids(namespace, first, second=None, as_digests=False, instructions=None) -> bytes */
static PyObject *make_uuids(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer namespace;
    PyObject *given_first, *given_second = Py_None, *result = NULL;
    const char *name = NULL;
    uuid_column first, second;
    uuid_job job;
    uint8_t *room = NULL;
    size_t row = 0;
    memset(&job, 0, sizeof job);
    memset(&second, 0, sizeof second);
    if (!PyArg_ParseTuple(
            args, "y*O|Opz:make_uuids", &namespace, &given_first, &given_second, &job.as_digests,
            &name))
        return NULL;
    if (namespace.len == MD5_DIGEST)
        memcpy(job.namespace, namespace.buf, MD5_DIGEST);
    else
        PyErr_Format(PyExc_ValueError, "a namespace has 16 bytes, not %zd", namespace.len);
    PyBuffer_Release(&namespace);
    if (PyErr_Occurred() || (job.instructions = md5_find(name)) == NULL
        || uuid_get_column(given_first, &first) < 0)
        return NULL;
    job.first = &first;
    if (given_second != Py_None) {
        if (uuid_get_column(given_second, &second) < 0)
            goto done;
        job.second = &second;
        if (first.n_rows != second.n_rows) {
            PyErr_Format(
                PyExc_ValueError, "the columns have %zu and %zu rows", first.n_rows, second.n_rows);
            goto done;
        }
    }
    const size_t width = job.as_digests ? MD5_DIGEST : UUID_TEXT;
    if (first.n_rows > (size_t)PY_SSIZE_T_MAX / width) {
        PyErr_NoMemory();
        goto done;
    }
    const size_t n_lanes = (size_t)job.instructions->lanes;
    room = malloc(n_lanes * MD5_BLOCK * UUID_MOST_BLOCKS * (UUID_MOST_BLOCKS + 1) / 2);
    if (room == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 1; i <= UUID_MOST_BLOCKS; i++)
        job.bins[i].blocks = room + n_lanes * MD5_BLOCK * (i * (i - 1) / 2);
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(first.n_rows * width));
    if (result == NULL)
        goto done;
    job.result = (uint8_t *)PyBytes_AsString(result);
    int outcome;
    Py_BEGIN_ALLOW_THREADS
    outcome = uuid_digest_rows(&job, first.n_rows, &row);
    Py_END_ALLOW_THREADS
    if (outcome != UUID_DONE) {
        Py_CLEAR(result);
        if (outcome == UUID_NO_MEMORY)
            PyErr_NoMemory();
        else
            PyErr_Format(PyExc_ValueError, "row %zu names a text that there is none of", row);
    }
done:
    free(room);
    uuid_release_column(&first);
    uuid_release_column(&second);
    return result;
}

/* format_uuids(highs, lows) -> bytes */
static PyObject *format_uuids(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer highs, lows;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*:format_uuids", &highs, &lows))
        return NULL;
    const size_t n_rows = (size_t)highs.len / 8;
    if (highs.len != lows.len || highs.len % 8) {
        PyErr_Format(
            PyExc_ValueError, "the halves have %zd and %zd bytes, not 8 a row", highs.len, lows.len);
        goto done;
    }
    if (n_rows > (size_t)PY_SSIZE_T_MAX / UUID_TEXT) {
        PyErr_NoMemory();
        goto done;
    }
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(n_rows * UUID_TEXT));
    if (result == NULL)
        goto done;
    uint8_t *to = (uint8_t *)PyBytes_AsString(result);
    Py_BEGIN_ALLOW_THREADS
    for (size_t row = 0; row < n_rows; row++) {
        uint64_t halves[2];
        uint8_t bytes[MD5_DIGEST];
        memcpy(&halves[0], (const uint8_t *)highs.buf + 8 * row, 8);
        memcpy(&halves[1], (const uint8_t *)lows.buf + 8 * row, 8);
        for (int i = 0; i < MD5_DIGEST; i++)
            bytes[i] = (uint8_t)(halves[i / 8] >> (56 - 8 * (i % 8)));
        uuid_write_text(to + UUID_TEXT * row, bytes);
    }
    Py_END_ALLOW_THREADS
done:
    PyBuffer_Release(&highs);
    PyBuffer_Release(&lows);
    return result;
}
