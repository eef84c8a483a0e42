/* What `list` prints of containers that run, of which there may be a thousand: found without Python. */

/* Looks at containers in the state root that is open at `root`. names: `count` of them, each with a NUL behind it. boot_id: of this boot.
 *
 * *lines gets a line for each: a JSON object, what `state` prints; or nothing, where Python has to look. That is so for all that do not
 * surely run, and for a state.json that is not, byte for byte, of the form in which this release writes it.
 * Returns the size of *lines, which native_running_free() takes back; or -ENOMEM. */
long native_running(int root, const char *names, int count, const char *boot_id, char **lines);
void native_running_free(char *lines);
