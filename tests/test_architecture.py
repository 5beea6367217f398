"""Imports run one way: each module knows only those below it."""

from __future__ import annotations

import ast
from pathlib import Path

import devilry_storage

PACKAGE = Path(devilry_storage.__file__).parent

#: From the bottom to the top. A module imports only from the layers below its own, and within a
#: folder that is named whole, from its neighbours.
LAYERS = [
    {"_compat"},
    {"exceptions", "rfc9110"},
    {"names", "layout", "error_messages", "media_types"},
    {"conf", "schema"},
    {"storages"},
    {"resolving"},
    {"signals", "fields", "upload_limits"},
    {"registry"},
    {"db"},
    {"tables"},
    {"identity"},
    {"integrity"},
    {"deletion"},
    {"abstract_models"},
    {"models"},
    {"archive", "checks", "restoring", "serving", "store_info", "usage"},
    {"forms", "views"},
    {"urls"},
    {"apps", "admin", "management", "migrations", "templatetags"},
    {"deliveries"},
    {"testing"},
]

#: Libraries that only the named module may import.
OPTIONAL = {
    "boto3": "storages.s3",
    "botocore": "storages.s3",
    "django_sendfile": "serving",
    "storages": "storages.s3",
}

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)


def _layer(module: str) -> int:
    """Return the number of the layer that names the module most exactly."""
    parts = module.removesuffix(".__init__").split(".")
    for length in range(len(parts), 0, -1):
        for number, names in enumerate(LAYERS):
            if ".".join(parts[:length]) in names:
                return number
    raise AssertionError(f"{module} is in no layer: give it one.")


def _at_run_time(tree: ast.AST) -> list[ast.stmt]:
    """Return the import statements, without those for the type checker alone."""
    found: list[ast.stmt] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        found += _at_run_time(node)
    return found


def _imports(module: str) -> set[str]:
    """Return what a module imports: our own modules as ``.name``, others by their package."""
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    imported: set[str] = set()
    for node in _at_run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                package = module.split(".")[: -node.level]
                base = ["devilry_storage", *package, *base]
            if base[0] != "devilry_storage":
                imported.add(base[0])
                continue
            for alias in node.names:
                target = [*base[1:], alias.name]
                inside = PACKAGE.joinpath(*target)
                is_module = inside.is_dir() or inside.with_suffix(".py").exists()
                imported.add("." + ".".join(target if is_module else target[:-1]))
    return imported - {"."}


def _folder(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _may_import(module: str, below: str) -> bool:
    """Return whether a module may import another of ours."""
    neighbours = _folder(below) == _folder(module) and _layer(below) == _layer(module)
    return neighbours or _layer(below) < _layer(module)


def test_a_module_imports_only_from_below() -> None:
    """No module knows one above it, or one beside it outside of its own folder."""
    ours = [
        (module, imported.removeprefix("."))
        for module in MODULES
        if module != "__init__"
        for imported in sorted(_imports(module))
        if imported.startswith(".")
    ]
    assert [
        f"{module} imports {each}" for module, each in ours if not _may_import(module, each)
    ] == []


def test_optional_libraries_are_imported_by_one_module_alone() -> None:
    """The bare install needs only Django."""
    found = [
        f"{module} imports {library}"
        for module in MODULES
        for library in sorted(_imports(module) & OPTIONAL.keys())
        if not f"{module}.".startswith(f"{OPTIONAL[library]}.")
    ]
    assert found == []


def test_the_layout_knows_no_django() -> None:
    """It is useful to scripts that only look at a disk."""
    assert not any(name.startswith("django") for name in _imports("layout"))


def test_the_judge_sees_an_import_from_above() -> None:
    """The rule can fail: the lowest module may not know the highest."""
    assert _layer("testing.plugin") > _layer("deliveries.models") > _layer("fields")
    assert ".storages.base" in _imports("resolving")
    assert not _may_import("fields", "deliveries.models")
