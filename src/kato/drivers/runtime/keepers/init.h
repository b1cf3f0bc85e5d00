/* The first process of a container that asks for one (init.c). */

/* `keeper init ARG...`: its exit code, which is the command's, or 128 and its signal. */
int init(char **argv);
