/* What stands between a container's network and its node (forward.c). */

/* `keeper share PID NETNS FILE [RULE...]`: returns once its child stands there, with an exit code. */
int share(int argc, char **argv);
