/* Device rules of cgroup v2. Returns a value >= 0, or -errno. */

/* Loads a BPF_PROG_TYPE_CGROUP_DEVICE program of `count` struct bpf_insn and attaches it to the cgroup. Programs that were
 * attached to this very cgroup are replaced; at every moment at least one of them is attached. */
int native_bpf_device_attach(int cgroup_fd, const void *insns, size_t count);
