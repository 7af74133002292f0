"""Print a constraint for each direct dependency in pyproject.toml: the lowest version that its floor allows.

``pip install -c <(python .ci/lowest.py) -e '.[test]'`` is then the oldest set-up that pyproject.toml promises to work.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
floors = {}
for requirement in project["dependencies"] + [one for extra in extras.values() for one in extra]:
    name, floor = re.match(r"([\w.-]+)[^>;]*(?:>=([\w.]+))?", requirement).groups()
    if name == project["name"]:
        continue
    if floor is None:
        raise SystemExit(f"{requirement!r} in pyproject.toml has no floor: write NAME>=VERSION")
    if floors.setdefault(name, floor) != floor:
        raise SystemExit(f"{name} has two floors in pyproject.toml: {floors[name]} and {floor}")
for name, floor in floors.items():
    print(f"{name}=={floor}")
