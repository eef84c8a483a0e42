/* fsopen, fsconfig, fsmount. When one fails, the message of the file system is read from the context's log. */
#include "init.h"

#include <string.h>

int fs_open(const char *type) {
    return (int)syscall(NR_FSOPEN, type, K_FSOPEN_CLOEXEC);
}

/* The log gives one line for each read: "e tmpfs: Bad value for 'size'". The last error is the one that counts. */
static int fail_with_log(int fs, enum plan_step step) {
    int error = errno;
    char line[512]; /* a line that does not fit is lost: EMSGSIZE */
    char reason[PLAN_DETAIL] = "";
    ssize_t size;

    while ((size = read(fs, line, sizeof line - 1)) > 0) {
        line[size] = '\0';
        line[strcspn(line, "\n")] = '\0';
        if (size > 2 && line[0] == 'e')
            put_text(reason, reason + sizeof reason, line + 2);
    }
    if (reason[0] != '\0')
        add_detail(reason);
    return fail_errno(step, error);
}

int fs_set(int fs, const char *key, const char *value) {
    unsigned command = value == NULL ? K_FSCONFIG_SET_FLAG : K_FSCONFIG_SET_STRING;

    return sys_fsconfig(fs, command, key, value) < 0 ? fail_with_log(fs, STEP_FSCONFIG) : 0;
}

/* option: "key" or "key=value" */
int fs_option(int fs, const char *option) {
    char key[64];
    size_t size = strcspn(option, "=");

    if (option[size] == '\0')
        return fs_set(fs, option, NULL);
    if (size >= sizeof key)
        return fail_errno(STEP_FSCONFIG, EINVAL);
    memcpy(key, option, size);
    key[size] = '\0';
    return fs_set(fs, key, option + size + 1);
}

int fs_create(int fs) {
    return sys_fsconfig(fs, K_FSCONFIG_CMD_CREATE, NULL, NULL) < 0 ? fail_with_log(fs, STEP_FSCONFIG) : 0;
}

/* The detached mount. attr: MOUNT_ATTR_* */
int fs_mount(int fs, uint64_t attr) {
    int mount = (int)syscall(NR_FSMOUNT, fs, K_FSMOUNT_CLOEXEC, attr);

    return mount < 0 ? fail_with_log(fs, STEP_FSMOUNT) : mount;
}
