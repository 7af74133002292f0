#!/bin/bash
# uvloop 0.22.1 and 0.23.0: a child process gets its stdin, stdout and stderr a second time, as descriptors that it does not know;
# asyncio's has three, and no more.
#
# Why a user cares: who reads the child's stdout waits for its end. A child that closes its stdout and goes on does not end
# there, nor does one that has ended and left something in the background whose own output goes elsewhere. Who needs the end
# gives subprocess_exec a preexec_fn that makes all descriptors ones that are not passed on.
# Behaviour: uvloop duplicates what it is given, makes the copy inheritable, and lets libuv copy that to 0, 1 and 2; nothing
# closes it in the child, and close_fds is not implemented.
# Output seen: "0.22.1: it has not ended", "0.23.0: it has not ended", "asyncio: it has ended".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/child.py" <<'P'
import asyncio
import os
import sys


async def main():
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec("sh", "-c", "exec >&-; read word", stdin=-1, stdout=writing)
    os.close(writing)
    end = loop.create_future()
    loop.add_reader(reading, lambda: end.done() or end.set_result(os.read(reading, 1)))
    try:
        assert await asyncio.wait_for(end, 2) == b""
        told = "it has ended"
    except TimeoutError:
        told = "it has not ended"
    loop.remove_reader(reading)
    process.stdin.close()
    await process.wait()
    print(f"{sys.argv[1]}: {told}")
    return told == sys.argv[2]


if sys.argv[1] == "asyncio":
    right = asyncio.run(main())
else:
    import uvloop

    assert uvloop.__version__ == sys.argv[1]
    right = uvloop.run(main())
sys.exit(not right)
P
for version in 0.22.1 0.23.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" -q --disable-pip-version-check install "uvloop==$version"
    "$folder/$version/bin/python" "$folder/child.py" "$version" "it has not ended"
done
python3 "$folder/child.py" asyncio "it has ended"
