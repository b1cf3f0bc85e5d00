/* What stands between a container's network and its node (forward.c). */

#include <stdbool.h>
#include <sys/types.h>

/* Whether a process, which has ended, stood at a network of the task whose record is open. */
bool stood(pid_t pid);
/* `keeper share PID NETNS FILE [RULE...]`: returns once its child stands there, with an exit code. */
int share(int argc, char **argv);
