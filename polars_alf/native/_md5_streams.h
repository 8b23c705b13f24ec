/* MD5 of messages that come in pieces, many at a time: each has a state that its pieces advance. */

typedef struct {
    uint32_t words[4];
    uint64_t n_bytes;
    uint8_t rest[MD5_BLOCK]; /* the last n_bytes % 64 bytes, which make no block yet */
} md5_state;

typedef struct {
    Py_buffer state_buffer, piece_buffer;
    md5_state state;
    const uint8_t *place;
    size_t n_blocks; /* whole ones from the place on */
    size_t n_rest;   /* and the bytes after them */
} md5_stream;

/* Take what completes the block that was begun; what follows are whole blocks and a rest. */
static void md5_begin_piece(md5_stream *stream)
{
    md5_state *state = &stream->state;
    size_t n_bytes = (size_t)stream->piece_buffer.len;
    size_t n_before = state->n_bytes % MD5_BLOCK;
    stream->place = stream->piece_buffer.buf;
    state->n_bytes += n_bytes;
    if (n_before > 0 && n_bytes > 0) {
        size_t n_taken = MD5_BLOCK - n_before < n_bytes ? MD5_BLOCK - n_before : n_bytes;
        memcpy(state->rest + n_before, stream->place, n_taken);
        stream->place += n_taken;
        n_bytes -= n_taken;
        if (n_before + n_taken == MD5_BLOCK) {
            const uint8_t *block = state->rest;
            md5_compress_one(state->words, &block, 1);
        }
    }
    stream->n_blocks = n_bytes / MD5_BLOCK;
    stream->n_rest = n_bytes % MD5_BLOCK;
}

static void md5_end_piece(md5_stream *stream)
{
    if (stream->n_blocks > 0)
        md5_compress_one(stream->state.words, &stream->place, stream->n_blocks);
    /* A piece that ended within the block that was begun has left its bytes there already. */
    if (stream->n_rest > 0)
        memcpy(stream->state.rest, stream->place + MD5_BLOCK * stream->n_blocks, stream->n_rest);
}

/* Digest the whole blocks of streams, until too few are left for the lanes. */
static void md5_fill_lanes(const md5_instructions *set, md5_stream *streams, size_t n_streams)
{
    const int lanes = set->lanes;
    uint32_t states[4 * MD5_MOST_LANES] = {0};
    const uint8_t *places[MD5_MOST_LANES];
    md5_stream *in_lanes[MD5_MOST_LANES] = {NULL};
    for (size_t next = 0;;) {
        int n_busy = 0;
        size_t n_blocks = SIZE_MAX;
        const uint8_t *any = NULL;
        for (int lane = 0; lane < lanes; lane++) {
            while (in_lanes[lane] == NULL && next < n_streams) {
                md5_stream *stream = &streams[next++];
                if (stream->n_blocks == 0)
                    continue;
                in_lanes[lane] = stream;
                for (int i = 0; i < 4; i++)
                    states[i * lanes + lane] = stream->state.words[i];
            }
            if (in_lanes[lane] == NULL)
                continue;
            n_busy++;
            any = in_lanes[lane]->place;
            if (in_lanes[lane]->n_blocks < n_blocks)
                n_blocks = in_lanes[lane]->n_blocks;
        }
        const int is_done = n_busy < set->few;
        if (!is_done) {
            /* What an idle lane reads has no effect, but it must be there. */
            for (int lane = 0; lane < lanes; lane++)
                places[lane] = in_lanes[lane] != NULL ? in_lanes[lane]->place : any;
            set->compress(states, places, n_blocks);
        }
        for (int lane = 0; lane < lanes; lane++) {
            md5_stream *stream = in_lanes[lane];
            if (stream == NULL)
                continue;
            if (!is_done) {
                stream->place += MD5_BLOCK * n_blocks;
                stream->n_blocks -= n_blocks;
            }
            if (is_done || stream->n_blocks == 0) {
                for (int i = 0; i < 4; i++)
                    stream->state.words[i] = states[i * lanes + lane];
                in_lanes[lane] = NULL;
            }
        }
        if (is_done)
            return;
    }
}

/* Take the buffer of a state and copy it; return -1 with an error set. */
static int md5_get_state(PyObject *given, Py_buffer *buffer, md5_state *state)
{
    if (PyObject_GetBuffer(given, buffer, PyBUF_WRITABLE) < 0)
        return -1;
    if (buffer->len != (Py_ssize_t)sizeof *state) {
        PyErr_SetString(PyExc_ValueError, "a state is what start_md5 returns");
        PyBuffer_Release(buffer);
        return -1;
    }
    memcpy(state, buffer->buf, sizeof *state);
    return 0;
}

/* count_md5_lanes(instructions=None) -> int */
static PyObject *count_md5_lanes(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name = NULL;
    if (!PyArg_ParseTuple(args, "|z:count_md5_lanes", &name))
        return NULL;
    const md5_instructions *set = md5_find(name);
    return set == NULL ? NULL : PyLong_FromLong(set->lanes);
}

/* start_md5() -> bytearray */
static PyObject *start_md5(PyObject *self, PyObject *args)
{
    (void)self, (void)args;
    md5_state state;
    memset(&state, 0, sizeof state);
    md5_start(state.words, 1);
    return PyByteArray_FromStringAndSize((const char *)&state, sizeof state);
}

/* Take the buffers of one state and one piece; return -1 with an error set. */
static int md5_get_stream(PyObject *states, PyObject *pieces, size_t i, md5_stream *stream)
{
    /* References of our own: to take a buffer can run code, which can change what was given. */
    PyObject *state = PySequence_GetItem(states, (Py_ssize_t)i);
    PyObject *piece = PySequence_GetItem(pieces, (Py_ssize_t)i);
    int outcome = -1;
    if (state == NULL || piece == NULL
        || md5_get_state(state, &stream->state_buffer, &stream->state) < 0)
        goto done;
    outcome = PyObject_GetBuffer(piece, &stream->piece_buffer, PyBUF_SIMPLE);
    if (outcome < 0)
        PyBuffer_Release(&stream->state_buffer);
done:
    Py_XDECREF(state);
    Py_XDECREF(piece);
    return outcome;
}

/* update_md5s(states, pieces, instructions=None) */
static PyObject *update_md5s(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *states, *pieces, *result = NULL;
    const char *name = NULL;
    if (!PyArg_ParseTuple(args, "OO|z:update_md5s", &states, &pieces, &name))
        return NULL;
    const md5_instructions *set = md5_find(name);
    if (set == NULL)
        return NULL;
    const Py_ssize_t n_states = PySequence_Size(states), n_pieces = PySequence_Size(pieces);
    if (n_states < 0 || n_pieces < 0)
        return NULL;
    if (n_states != n_pieces) {
        PyErr_Format(PyExc_ValueError, "there are %zd states and %zd pieces", n_states, n_pieces);
        return NULL;
    }
    size_t n_streams = 0;
    md5_stream *streams = calloc((size_t)n_states + 1, sizeof *streams);
    if (streams == NULL)
        return PyErr_NoMemory();
    while (n_streams < (size_t)n_states) {
        if (md5_get_stream(states, pieces, n_streams, &streams[n_streams]) < 0)
            goto done;
        n_streams++;
    }
    Py_BEGIN_ALLOW_THREADS
    for (size_t i = 0; i < n_streams; i++)
        md5_begin_piece(&streams[i]);
    md5_fill_lanes(set, streams, n_streams);
    md5_fill_lanes(&MD5_INSTRUCTIONS[MD5_N_INSTRUCTIONS - 1], streams, n_streams);
    for (size_t i = 0; i < n_streams; i++)
        md5_end_piece(&streams[i]);
    Py_END_ALLOW_THREADS
    for (size_t i = 0; i < n_streams; i++)
        memcpy(streams[i].state_buffer.buf, &streams[i].state, sizeof streams[i].state);
    result = Py_NewRef(Py_None);
done:
    for (size_t i = 0; i < n_streams; i++) {
        PyBuffer_Release(&streams[i].state_buffer);
        PyBuffer_Release(&streams[i].piece_buffer);
    }
    free(streams);
    return result;
}

/* finish_md5(state) -> bytes */
static PyObject *finish_md5(PyObject *self, PyObject *given)
{
    (void)self;
    Py_buffer buffer;
    md5_state state;
    if (md5_get_state(given, &buffer, &state) < 0)
        return NULL;
    PyBuffer_Release(&buffer);
    uint8_t blocks[2 * MD5_BLOCK], digest[MD5_DIGEST];
    const uint8_t *place = blocks;
    const size_t n_rest = state.n_bytes % MD5_BLOCK;
    memcpy(blocks, state.rest, n_rest);
    md5_compress_one(state.words, &place, (size_t)md5_pad(blocks, n_rest, state.n_bytes));
    md5_write_digest(digest, state.words, 1, 0);
    return PyBytes_FromStringAndSize((const char *)digest, MD5_DIGEST);
}
