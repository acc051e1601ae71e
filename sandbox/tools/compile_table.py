"""Compiles Stripe's OpenAPI document into what the sandbox and its tests need.

  python3 sandbox/tools/compile_table.py strip FULL.json     writes tests/corpus/stripe/openapi-product-….json
  python3 sandbox/tools/compile_table.py table               writes sandbox/data/parameters.json from it

`strip` drops the descriptions (they are three quarters of the bytes and not ours to repeat).
`table` keeps, per operation, the tree of accepted parameters, and per resource which fields expand.
"""
import json, pathlib, sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
STRIPPED = ROOT / "tests/corpus/stripe/openapi-product-2025-04-30.basil.json"
TABLE = ROOT / "sandbox/data/parameters.json"


def without_words(node):
    if isinstance(node, dict):
        out = {}
        for k, v in node.items():
            if k == "description" and isinstance(v, str):
                continue
            out[k] = {n: without_words(s) for n, s in v.items()} if k == "properties" else without_words(v)
        return out
    return [without_words(v) for v in node] if isinstance(node, list) else node


def kind(schema):
    """s string, i integer, n number, b boolean, * anything, m string map, {"e": […]} enum,
    {"a": T} array, {"o": {…}, "r": […]} object, {"|": [T…]} one of"""
    if "anyOf" in schema:
        kinds = []
        for s in schema["anyOf"]:
            k = kind(s)
            if k not in kinds:
                kinds.append(k)
        return kinds[0] if len(kinds) == 1 else {"|": kinds}
    if "enum" in schema:
        return {"e": schema["enum"]}
    t = schema.get("type")
    if t == "array":
        return {"a": kind(schema["items"])}
    if t == "object":
        props = schema.get("properties")
        if props:
            out = {"o": {n: kind(s) for n, s in props.items()}}
            if schema.get("required"):
                out["r"] = schema["required"]
            return out
        return "m" if schema.get("additionalProperties") else {"o": {}}
    return {"string": "s", "integer": "i", "number": "n", "boolean": "b"}.get(t, "*")


def operations(doc):
    ops = {}
    for path, methods in doc["paths"].items():
        for method, op in methods.items():
            props, required = {}, []
            for p in op.get("parameters", []):
                if p["in"] == "query":
                    props[p["name"]] = kind(p["schema"])
                    if p.get("required"):
                        required.append(p["name"])
            body = op.get("requestBody", {}).get("content", {})
            for content in body.values():
                props.update({n: kind(s) for n, s in content["schema"].get("properties", {}).items()})
                required += content["schema"].get("required", [])
            row = {"o": props}
            if required:
                row["r"] = required
            ops[f"{method.upper()} {path}"] = row
    return ops


def expandable(schema, prefix, out, depth):
    if "x-expansionResources" in schema:
        out.append(prefix)
        return
    for name, sub in schema.get("properties", {}).items():
        if depth < 5:
            expandable(sub, f"{prefix}.{name}" if prefix else name, out, depth + 1)
    if "items" in schema:
        expandable(schema["items"], prefix, out, depth + 1)
    for sub in schema.get("anyOf", []):
        if "$ref" not in sub:
            expandable(sub, prefix, out, depth + 1)


def main():
    if sys.argv[1] == "strip":
        doc = without_words(json.load(open(sys.argv[2])))
        STRIPPED.write_text(json.dumps(doc, separators=(",", ":"), ensure_ascii=False) + "\n")
        return
    doc = json.load(open(STRIPPED))
    fields = {}
    for name, schema in doc["components"]["schemas"].items():
        found = []
        expandable(schema, "", found, 0)
        if found:
            fields[name] = sorted(set(found))
    TABLE.write_text(
        "{\"operations\":{\n"
        + ",\n".join(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in sorted(operations(doc).items()))
        + "\n},\"expandable\":{\n"
        + ",\n".join(f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}" for k, v in sorted(fields.items()))
        + "\n}}\n"
    )


main()
