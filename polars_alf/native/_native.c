/* The functions of polars_alf that must be fast, in C.

   Each has a twin in Python, in twin.py, which says what it is to return; the tests hold the two
   equal. Nothing here touches a Python object while the work is done, so that all of it runs
   without Python's lock. */

#define _FILE_OFFSET_BITS 64
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_md5.h"
#include "_uuids.h"

#ifndef _WIN32
#include "_list.h"
#endif

static PyMethodDef methods[] = {
#ifndef _WIN32
    {"list_directories", list_directories, METH_VARARGS, "List directories into columns."},
    {"examine_files", examine_files, METH_VARARGS, "Examine files of a directory by name."},
#endif
    {"list_instruction_sets", list_instruction_sets, METH_NOARGS, NULL},
    {"make_uuids", make_uuids, METH_VARARGS, NULL},
    {"format_uuids", format_uuids, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "The functions that must be fast, in C.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
