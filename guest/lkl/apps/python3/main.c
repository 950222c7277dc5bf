/* SPDX-License-Identifier: MPL-2.0
 *
 * The main program of the unikernel. Python looks for its files and sets sys.executable
 * by argv[0], which is the name of the unikernel's file or of the task.
 */
#include <Python.h>

int
main(int argc, char **argv)
{
	static char executable[] = "/usr/bin/python3";

	if (argc > 0 && !strchr(argv[0], '/'))
		argv[0] = executable;
	return Py_BytesMain(argc, argv);
}
