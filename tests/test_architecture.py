"""Modules import only from lower layers and never in circles, and names have one meaning."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import devilry_storage

PACKAGE = Path(devilry_storage.__file__).parent

#: The layers, lowest first. A module imports only from lower layers, and from other modules of its
#: own folder if that folder is one layer.
LAYERS = [
    {"_compat"},
    {"exceptions", "rfc9110"},
    {"names", "layout", "error_messages", "media_types"},
    {"conf", "schema"},
    {"storages"},
    {"resolving"},
    {"signals", "fields", "upload_limits", "dates"},
    {"registry"},
    {"db"},
    {"tables"},
    {"identity"},
    {"integrity"},
    {"deletion"},
    {"abstract_models"},
    {"models"},
    {"archive", "checks", "restoring", "serving", "store_info", "usage"},
    {"forms", "uploads", "views"},
    {"urls"},
    {"apps", "admin", "management", "migrations"},
    {"templatetags"},
    {"deliveries"},
    {"testing"},
]

#: Libraries that only the given folder may import.
OPTIONAL = {
    "boto3": "storages.s3",
    "botocore": "storages.s3",
    "django_sendfile": "serving",
    "storages": "storages.s3",
}

#: Circles of modules, with the reason for each.
ALLOWED_CIRCLES = {
    frozenset({"abstract_models.bulk", "abstract_models.delivery"}): (
        "bulk.py implements AbstractDelivery.add_files(), and imports the class only for its type"
    )
}

#: Names that several modules define, with the reason for each.
ALLOWED_NAMES = {
    "Body": "the body of a request to S3, and the body of a response to a download",
    "Command": "Django's name for the class of a management command",
    "DeliveryAdmin": "deliveries registers a subclass for its own models",
    "FileMetaAdmin": "deliveries registers a subclass for its own models",
    "FileMetaInline": "deliveries registers a subclass for its own models",
    "NewFileMetaInline": "deliveries registers a subclass for its own models",
}

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)


def _layer(module: str) -> int:
    """Return the index of the layer with the longest name that includes the module."""
    parts = module.removesuffix(".__init__").split(".")
    for length in range(len(parts), 0, -1):
        for number, names in enumerate(LAYERS):
            if ".".join(parts[:length]) in names:
                return number
    raise AssertionError(f"{module} has no layer: add it to LAYERS.")


def _parsed(module: str) -> ast.Module:
    return ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text())


def _statements(tree: ast.AST, *, type_only: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements, optionally with those below ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            if type_only:
                yield from _statements(node, type_only=True)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from _statements(node, type_only=type_only)


def _imports(module: str, *, type_only: bool = False) -> set[str]:
    """Return the imported modules: our own as ``.name``, others by their top-level package."""
    imported: set[str] = set()
    for node in _statements(_parsed(module), type_only=type_only):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
            continue
        base = node.module.split(".") if node.module else []
        if node.level:
            base = ["devilry_storage", *module.split(".")[: -node.level], *base]
        if base[0] != "devilry_storage":
            imported.add(base[0])
            continue
        for alias in node.names:
            target = [*base[1:], alias.name]
            path = PACKAGE.joinpath(*target)
            is_module = path.is_dir() or path.with_suffix(".py").exists()
            imported.add("." + ".".join(target if is_module else target[:-1]))
    return imported - {"."}


def _own_imports(module: str, *, type_only: bool = False) -> list[str]:
    """Return the modules of this package that a module imports, packages as ``name.__init__``."""
    names = [name[1:] for name in _imports(module, type_only=type_only) if name[0] == "."]
    return sorted(f"{name}.__init__" if f"{name}.__init__" in MODULES else name for name in names)


def _folder(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _may_import(module: str, imported: str) -> bool:
    """Return whether the layers let a module import another one of this package."""
    neighbours = _folder(imported) == _folder(module) and _layer(imported) == _layer(module)
    return neighbours or _layer(imported) < _layer(module)


def _circles(graph: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """Return the strongly connected components with more than one module (Tarjan)."""
    circles: set[frozenset[str]] = set()
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in graph[module]:
            if imported not in order:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            position = stack.index(module)
            component = frozenset(stack[position:])
            del stack[position:]
            if len(component) > 1:
                circles.add(component)

    for module in graph:
        if module not in order:
            visit(module)
    return circles


def test_modules_import_only_from_lower_layers() -> None:
    """No module imports from a higher layer, or from another folder of its own layer."""
    assert [
        f"{module} imports {imported}"
        for module in MODULES
        if module != "__init__"
        for imported in _own_imports(module)
        if not _may_import(module, imported)
    ] == []


def test_imports_have_no_circles() -> None:
    """Imports for type checkers count, because they tie modules together as well."""
    graph = {module: _own_imports(module, type_only=True) for module in MODULES}
    circles = _circles(graph)
    assert circles - ALLOWED_CIRCLES.keys() == set()
    assert ALLOWED_CIRCLES.keys() - circles == set(), "unused entries"


def test_circles_are_found() -> None:
    """The search finds circles of any length, and nothing else."""
    graph = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": ["d"], "f": ["a", "d"]}
    assert _circles(graph) == {frozenset("abc"), frozenset("de")}
    assert "storages.base" in _own_imports("fields", type_only=True)
    assert "storages.base" not in _own_imports("fields")


def test_optional_libraries_are_imported_in_one_folder() -> None:
    """The bare install needs only Django."""
    found = [
        f"{module} imports {library}"
        for module in MODULES
        for library in sorted(_imports(module) & OPTIONAL.keys())
        if not f"{module}.".startswith(f"{OPTIONAL[library]}.")
    ]
    assert found == []


def test_layout_does_not_import_django() -> None:
    """Scripts that only read a disk can use it."""
    assert not any(name.startswith("django") for name in _imports("layout"))


def test_modules_do_not_have_names_of_the_standard_library() -> None:
    """``from . import http`` and ``import http`` in one module would be easy to confuse."""
    names = {name for module in MODULES for name in module.split(".")}
    assert names & sys.stdlib_module_names == set()


def test_public_names_are_defined_once() -> None:
    """A class or function of the same name in two modules needs an entry with a reason."""
    modules: dict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        if ".migrations." in f".{module}":
            continue
        for node in _parsed(module).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_":
                modules[node.name].append(module)
    found = {name: found for name, found in modules.items() if len(found) > 1}
    assert {name: found[name] for name in found.keys() - ALLOWED_NAMES.keys()} == {}


def test_higher_layer_is_rejected() -> None:
    """A module of the lowest layers may not import from the highest."""
    assert _layer("testing.plugin") > _layer("deliveries.models") > _layer("fields")
    assert ".storages.base" in _imports("resolving")
    assert not _may_import("fields", "deliveries.models")
