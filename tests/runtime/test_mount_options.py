"""Every option word of a mount has an effect that the container sees (config.md#mounts, mount(8), mount_setattr(2))."""

import pytest
from looks import mount, mount_table, mounted, one_line, seen, user_namespace

from pyrun.plan import mounts

# word -> what mountinfo shows of a tmpfs that has it.
SET = {
    "ro": "ro", "nosuid": "nosuid", "nodev": "nodev", "noexec": "noexec", "nodiratime": "nodiratime", "nosymfollow": "nosymfollow",
    "noatime": "noatime", "relatime": "relatime", "atime": "relatime", "norelatime": "relatime", "nostrictatime": "relatime",
}  # fmt: skip
# word -> the earlier word that it undoes.
UNSET = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "diratime": "nodiratime", "symfollow": "nosymfollow",
    "strictatime": "relatime",
}  # fmt: skip
# The same for options of the file system as a whole, which a bind mount does not have.
SUPER_SET = {
    "sync": "sync", "dirsync": "dirsync", "mand": "mand", "lazytime": "lazytime", "rsync": "sync", "rdirsync": "dirsync", "rmand": "mand",
}  # fmt: skip
SUPER_UNSET = {"async": "sync", "nomand": "mand", "nolazytime": "lazytime", "rasync": "sync", "rnomand": "mand"}
# What a tmpfs accepts without showing anything.
SILENT = ("iversion", "noiversion", "silent", "loud", "defaults")
PROPAGATION = {
    "private": set(), "rprivate": set(), "slave": {"master"}, "rslave": {"master"}, "shared": {"shared"}, "rshared": {"shared"},
    "unbindable": {"unbindable"}, "runbindable": {"unbindable"},
}  # fmt: skip
SHAPE = ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap")  # test_mounts.py, test_idmapped_mounts.py
SYMLINKS = ("src-nofollow", "dest-nofollow", "copy-symlink")
RECURSIVE_SET = {f"r{word}": shown for word, shown in SET.items()}
RECURSIVE_UNSET = {f"r{word}": f"{undone}" for word, undone in UNSET.items()}


def test_no_word_is_forgotten():
    tables = (SET, UNSET, SUPER_SET, SUPER_UNSET, SILENT, PROPAGATION, SHAPE, SYMLINKS, RECURSIVE_SET, RECURSIVE_UNSET)
    assert {word for table in tables for word in table} == mounts.WORDS


def test_words_of_a_file_system(bundle):
    b = bundle()
    lists = [[word] for word in (*SET, *SUPER_SET, *SILENT, *RECURSIVE_SET)]
    lists += [[undone, word] for word, undone in (*UNSET.items(), *SUPER_UNSET.items(), *RECURSIVE_UNSET.items())]
    for options in lists:
        b.mount(f"/m/{options[-1]}", type="tmpfs", source="tmpfs", options=options)
    table = seen(b)
    for word, shown in (SET | RECURSIVE_SET).items():
        assert shown in table[f"/m/{word}"].options, word
    for word, undone in (UNSET | RECURSIVE_UNSET).items():
        assert undone not in table[f"/m/{word}"].options, word
    for word, shown in SUPER_SET.items():
        assert shown in table[f"/m/{word}"].data, word
    for word, undone in SUPER_UNSET.items():
        assert undone not in table[f"/m/{word}"].data, word
    for word in SILENT:
        assert table[f"/m/{word}"].type == "tmpfs"


def test_the_last_word_wins(bundle):
    b = bundle()
    b.mount("/a", type="tmpfs", source="tmpfs", options=["ro", "rw", "ro", "noatime", "strictatime"])
    entry = seen(b)["/a"]
    assert "ro" in entry.options and not {"noatime", "relatime"} & entry.options


@pytest.fixture
def nested(tmp_path):
    """A tmpfs on the host with another one below it, at `sub`."""
    with mounted(tmp_path / "nested") as top:
        (top / "sub").mkdir()
        mount("-t", "tmpfs", "tmpfs", top / "sub")
        yield top


def test_words_of_a_bind_mount_are_for_the_top_mount_alone(bundle, nested):
    b = bundle()
    for word in SET:
        b.mount(f"/m/{word}", source=str(nested), options=["rbind", word])
    table = seen(b)
    for word, shown in SET.items():
        assert shown in table[f"/m/{word}"].options, word
        assert shown in {"relatime"} or shown not in table[f"/m/{word}/sub"].options, word


def test_recursive_words_reach_the_mounts_below(bundle, nested):
    b = bundle()
    for word in RECURSIVE_SET:
        b.mount(f"/m/{word}", source=str(nested), options=["rbind", word])
    table = seen(b)
    for word, shown in RECURSIVE_SET.items():
        assert shown in table[f"/m/{word}"].options, word
        assert shown in table[f"/m/{word}/sub"].options, word


def test_recursive_words_clear_too(bundle, nested):
    for path in (nested / "sub", nested):
        mount("-o", "remount,bind,ro,nosuid,nodev,noexec,nodiratime,nosymfollow,noatime", path)
    b = bundle()
    for word in RECURSIVE_UNSET:
        b.mount(f"/m/{word}", source=str(nested), options=["rbind", word])
    table = seen(b)
    for word, undone in RECURSIVE_UNSET.items():
        for path in (f"/m/{word}", f"/m/{word}/sub"):
            left = {"ro", "nosuid", "nodev", "noexec", "nodiratime", "nosymfollow", "noatime"} - table[path].options
            assert left == ({"noatime"} if word == "rstrictatime" else {undone}), (path, table[path])


@pytest.mark.parametrize(
    "options, top, below",
    [
        (["rbind"], True, True),
        (["rbind", "ro"], False, True),
        (["rbind", "rro"], False, False),
        (["rbind", "ro", "rro"], False, False),
        (["rbind", "rro", "rw"], True, False),
        (["bind", "ro"], False, None),
        (["bind"], True, None),
    ],
)
def test_who_can_write_where(bundle, nested, options, top, below):
    b = bundle("touch /m/new && echo top; touch /m/sub/new && echo below; true")
    b.mount("/m", source=str(nested), options=options)
    words = b.run().out.split()
    assert ("top" in words) == top
    assert (nested / "new").exists() == top
    # Not bound recursively, `sub` is the plain directory that the inner mount hides on the host.
    assert (nested / "sub/new").exists() == bool(below)


def test_a_bare_bind_keeps_the_flags_of_its_source(bundle, tmp_path):
    flags = {"ro", "nosuid", "nodev", "noexec", "noatime"}
    with mounted(tmp_path / "source", "-t", "tmpfs", "-o", ",".join(flags), "tmpfs") as source:
        b = bundle()
        b.mount("/bare", source=str(source), options=["bind"])
        b.mount("/typed", type="bind", source=str(source))
        b.mount("/slave", source=str(source), options=["rbind", "rslave"])
        b.mount("/some", source=str(source), options=["bind", "nosuid"])
        b.mount("/rw", source=str(source), options=["rbind", "rw"])
        table = seen(b)
    for point in ("/bare", "/typed", "/slave"):
        assert flags <= table[point].options, point
    # A flag that is named clears those that are not; access times alone stay.
    assert table["/some"].options & flags == {"nosuid", "noatime"}
    assert table["/rw"].options & flags == {"noatime"}


def test_propagation_words(bundle, tmp_path):
    with mounted(tmp_path / "shared") as source:
        mount("--make-shared", source)
        b = bundle()
        for word in PROPAGATION:
            b.mount(f"/m/{word}", source=str(source), options=["rbind", word])
            b.mount(f"/t/{word}", type="tmpfs", source="tmpfs", options=[word])
        table = seen(b)
    for word, shown in PROPAGATION.items():
        # Shared is shared among the container's mounts; by default no mount of its own reaches the host.
        assert table[f"/m/{word}"].propagation == shown | ({"master"} if shown == {"shared"} else set()), word
        # A new file system has no master.
        assert table[f"/t/{word}"].propagation == shown - {"master"}, word


def test_nosymfollow_and_noexec_and_nodev_are_enforced(bundle):
    script = """
    cd /m; echo data >file; ln -s file link; cp /bin/busybox sh; mknod null c 1 3
    cat link; ./sh true; echo x >null; true
    """
    b = bundle(script)
    for names in b.config["process"]["capabilities"].values():
        names.append("CAP_MKNOD")
    b.set("linux.resources.devices", [{"allow": True, "access": "rwm"}])
    b.mount("/m", type="tmpfs", source="tmpfs", options=["nosymfollow", "noexec", "nodev"])
    result = b.run()
    assert result.out == ""
    assert "link': Too many levels of symbolic links" in result.err
    assert "./sh: Permission denied" in result.err
    assert "create null: Permission denied" in result.err


def test_a_file_system_gets_its_own_options(bundle):
    b = bundle().mount("/m", type="tmpfs", source="my source", options=["size=64k", "nr_inodes=77", "uid=1000", "gid=2000", "mode=0750"])
    b.config["process"]["args"] = ["sh", "-c", "stat -c '%u:%g %a' /m; grep ' /m ' /proc/self/mountinfo"]
    stat, line = b.run().out.splitlines()
    assert stat == "1000:2000 750"
    entry = mount_table(line)["/m"]
    assert {"size=64k", "nr_inodes=77"} <= entry.data
    assert entry.source == "my\\040source"


def test_a_size_holds(bundle):
    b = bundle("dd if=/dev/zero of=/m/file bs=1k count=100 2>/dev/null; stat -c %s /m/file")
    b.mount("/m", type="tmpfs", source="tmpfs", options=["size=64k"])
    assert b.run().out == "65536\n"


def test_a_long_option_is_taken_whole(bundle, tmp_path):
    """An overlay's lowerdir is longer than a string of fsconfig(2) may be."""
    layers = []
    for number in range(12):
        layer = tmp_path / f"layer-{number:02}-with-a-name-that-is-rather-long"
        layer.mkdir()
        (layer / f"file{number}").touch()
        layers.append(str(layer))
    b = bundle("ls /m").mount("/m", type="overlay", source="overlay", options=[f"lowerdir={':'.join(layers)}"])
    assert len(":".join(layers)) > 255
    assert sorted(b.run().out.split()) == sorted(f"file{number}" for number in range(12))


def test_remount_changes_an_earlier_mount(bundle):
    b = bundle().mount("/m", type="tmpfs", source="tmpfs")
    b.mount("/m", type="tmpfs", source="tmpfs", options=["remount", "ro", "noexec"])
    entry = seen(b)["/m"]
    assert {"ro", "noexec"} <= entry.options


def test_data_on_a_bind_mount_is_warned_about(bundle, tmp_path):
    b = bundle().mount("/m", source=str(tmp_path), options=["bind", "mode=0700", "size=1k"])
    line = one_line(b.run())
    assert "mounts[7].options" in line and "mode=0700" in line


@pytest.mark.parametrize(
    "given, words",
    [
        ({"type": "nosuchfs", "source": "x"}, ["nosuchfs", "no such device"]),
        ({"type": "tmpfs", "source": "tmpfs", "options": ["size=many"]}, ["size", "invalid argument"]),
        ({"type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption"]}, ["nosuchoption", "invalid argument"]),
        ({"source": "/no/such/source", "options": ["bind"]}, ["/no/such/source", "no such file or directory"]),
        ({"type": "bind", "source": "/no/such/source"}, ["/no/such/source", "no such file or directory"]),
        ({"source": "x"}, ["type"]),
    ],
)
def test_a_bad_mount_is_named(bundle, given, words):
    b = bundle().mount("/m/x", **given)
    line = one_line(b.call("run", code=1))
    for word in ("mounts[7]", *words):
        assert word in line, line
    assert one_line(b.call("create", code=1)).split("mounts[7]")[1] == line.split("mounts[7]")[1]


# --- bind mounts and symlinks


@pytest.fixture
def link(tmp_path):
    """A symlink on the host to a file beside it."""
    (tmp_path / "file").write_text("the file\n")
    (tmp_path / "link").symlink_to("file")
    return tmp_path / "link"


@pytest.mark.parametrize("userns", [False, True])
def test_a_source_that_is_a_symlink(bundle, link, userns):
    """src-nofollow: the link itself appears; without it, what it leads to does."""
    b = bundle("readlink /a; cat /b")
    b.mount("/a", source=str(link), options=["bind", "src-nofollow"])
    b.mount("/b", source=str(link), options=["bind"])
    if userns:
        user_namespace(b)
    assert b.run().out == "file\nthe file\n"


def test_a_target_that_is_a_symlink(bundle, link):
    """dest-nofollow: what the link in the root leads to stays as it is."""
    b = bundle("cat /link; cat /target")
    (b.rootfs / "target").write_text("the target\n")
    (b.rootfs / "link").symlink_to("target")
    b.mount("/link", source=str(link), options=["bind", "dest-nofollow"])
    assert b.run().out == "the file\nthe target\n"
    b.config["mounts"][-1]["options"] = ["bind"]
    assert b.run().out == "the file\nthe file\n"


def test_a_symlink_is_copied(bundle, link):
    b = bundle("readlink /a; cat /b")
    b.mount("/a", source=str(link), options=["bind", "copy-symlink"])
    b.mount("/b", source=str(link.with_name("file")), options=["bind", "copy-symlink"])
    assert b.run().out == "file\nthe file\n"
    assert b.run().out == "file\nthe file\n"
    (b.rootfs / "a").unlink()
    (b.rootfs / "a").symlink_to("elsewhere")
    assert "/a: file exists" in one_line(b.call("run", code=1))


def test_several_words_in_one_string(bundle):
    b = bundle().mount("/t", type="tmpfs", source="tmpfs", options=["ro,nosuid", "size=64k,mode=711"])
    b.mount("/p", type="devpts", source="devpts", options=["newinstance,ptmxmode=0640", "noexec"])
    b.mount("/v", source=str(b.directory), options=["rbind,ro,nodev"])
    table = seen(b)
    assert {"ro", "nosuid"} <= table["/t"].options and {"size=64k", "mode=711"} <= table["/t"].data
    assert "ptmxmode=640" in table["/p"].data and "noexec" in table["/p"].options
    assert {"ro", "nodev"} <= table["/v"].options


def test_a_comma_that_separates_nothing(bundle, tmp_path):
    """overlay has directories with commas after a backslash."""
    with mounted(tmp_path / "disk") as disk:
        for name in ("a,b", "up", "work"):
            (disk / name).mkdir()
        (disk / "a,b/file").touch()
        b = bundle("ls /m").mount(
            "/m", type="overlay", source="overlay", options=[f"ro,lowerdir={disk}/a\\,b,upperdir={disk}/up,workdir={disk}/work"]
        )
        assert b.run().out == "file\n"


def test_an_owner_in_such_a_string_is_checked(bundle):
    b = bundle().mount("/t", type="tmpfs", source="tmpfs", options=["size=64k,uid=70000"])
    user_namespace(b)
    assert "mounts[7].options[0]: cannot specify uid=70000" in one_line(b.call("run", code=1))
