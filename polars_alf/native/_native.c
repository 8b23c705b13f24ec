/* The functions of polars_alf that must be fast, in C.

   Each has a twin in Python, in twin.py or twin_md5.py, which says what it is to return; the tests
   hold the two equal. Nothing here touches a Python object while the work is done, so that all of
   it runs without Python's lock. */

#define _FILE_OFFSET_BITS 64
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_md5.h"
#include "_md5_streams.h"
#include "_uuids.h"

#ifndef _WIN32
#include "_list.h"
#include "_unchanged.h"
#endif

static PyMethodDef methods[] = {
#ifndef _WIN32
    {"list_directories", list_directories, METH_VARARGS, "List directories into columns."},
    {"examine_files", examine_files, METH_VARARGS, "Examine files of a directory by name."},
    {"count_unchanged", count_unchanged, METH_VARARGS, NULL},
    {"book_calls", book_calls, METH_VARARGS, NULL},
#endif
    {"list_instruction_sets", list_instruction_sets, METH_NOARGS, NULL},
    {"count_md5_lanes", count_md5_lanes, METH_VARARGS, NULL},
    {"start_md5", start_md5, METH_NOARGS, NULL},
    {"update_md5s", update_md5s, METH_VARARGS, NULL},
    {"finish_md5", finish_md5, METH_O, NULL},
    {"make_uuids", make_uuids, METH_VARARGS, NULL},
    {"format_uuids", format_uuids, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "The functions that must be fast, in C.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
