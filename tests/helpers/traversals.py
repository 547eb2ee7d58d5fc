"""Paths that lead out of a folder."""


def traversals():
    """200 paths that lead out of any folder, in the ways that programs have been fooled."""
    ups = ["../" * n for n in range(1, 11)] + [f"a/{'../' * n}" for n in range(2, 8)] + ["./../", "a/./../../"]
    ups += [".//..//", "sub/.././../"]
    targets = ["outside.mp4", "etc/passwd", "x.mp4", "videos2/a.mp4", "-i.mp4", "a b.mp4", "ü.mp4", "a.mp4/../b.mp4"]
    paths = [up + target for up in ups for target in targets]
    paths += ["/" + target for target in targets] + ["//" + target for target in targets]
    paths += ["..", "/", ".", "./", "sub/..", "../videos2", "/etc/passwd", "//etc//passwd", "../" * 200 + "etc/passwd"]
    paths += [f"/proc/self/fd/{n}" for n in range(20)]
    return list(dict.fromkeys(paths))[:200]
