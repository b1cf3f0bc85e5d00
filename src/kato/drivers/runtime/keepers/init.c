/* The first process of a container that has asked for one (`init`): signals flow in, and on to the command; its end,
 * and that of orphans which nobody else would bury, is heard.
 *
 *   keeper init ARG...
 *
 * The kernel delivers to a first process only signals that it handles: a command that handles none would not end
 * when it is asked to.
 */
#define _GNU_SOURCE
#include "init.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int init(char **argv) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        execvp(argv[0], argv);
        _exit(127);
    }
    for (;;) {
        int heard = sigwaitinfo(&all, NULL), status;
        if (heard > 0 && heard != SIGCHLD) kill(child, heard);
        for (pid_t over; (over = waitpid(-1, &status, WNOHANG)) > 0;)
            if (over == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}
