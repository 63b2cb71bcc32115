"""``docs/configuration.md`` from the models of ``rescrnet.config``, by way of their JSON schema."""

import json

from rescrnet.config import PRESETS, Config, resolve

HEAD = """# Configuration

`make docs` writes this page from `src/rescrnet/config.py`; a test holds it to the code.

A run's configuration is a preset, then a YAML file over it, then single keys over both:

```console
rescrnet train DATA --out RUN --preset standard --config mine.yaml --set training.epochs=5
```

`mine.yaml` has a section for the part of each key before its dot:

```yaml
training:
  epochs: 5
```

From Python it is `rescrnet.configure("standard", overrides={"training.epochs": 5})`. An unknown key is an error, and so
is a value out of its range. Without a preset (`preset: custom`) every key has the default below; `RUN/config.yaml`
holds all keys with the values of the run. What the presets are for: [training.md](training.md).
"""


def text():
    """The page."""
    return "\n".join([HEAD, *sections_of(Config), presets()])


# Sections: a table for every model


def sections_of(kind):
    """The sections of all keys of a model whose values are mappings."""
    schema = kind.model_json_schema(by_alias=False)
    definitions = schema.get("$defs", {})
    return [part for key, value in schema["properties"].items() for part in sections(key, value, definitions)]


def sections(path, schema, definitions):
    """The sections of a key, one for every kind of mapping that its value may be; none for other values."""
    found = []
    kinds = models(schema, definitions)
    for model in kinds:
        selector = schema.get("discriminator", {}).get("propertyName")
        heading, description = f"## {path}", schema.get("description") or model.get("description", "")
        if len(kinds) > 1:
            values = cell(model["properties"][selector], definitions) if selector else model["title"]
            heading += f" with {selector or 'keys of'} {values}"
            description = model.get("description", "")
        found.append("\n".join([heading, "", one_line(description), "", *table(path, model, definitions), ""]))
        for key, value in model["properties"].items():
            found += sections(f"{path}.{key}", value, definitions)
    return found


def table(path, model, definitions):
    """A row for every key of a mapping that has no section of its own."""
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in model["properties"].items():
        if not models(value, definitions):
            default = f"`{json.dumps(value['default'])}`" if "default" in value else "needed"
            meaning = one_line(value.get("description", ""))
            rows.append(f"| `{path}.{key}` | {cell(value, definitions)} | {default} | {meaning} |")
    return rows


def models(schema, definitions):
    """The mappings that a value may be, if it may be nothing else."""
    options = schema.get("oneOf") or schema.get("anyOf") or schema.get("allOf") or [schema]
    resolved = [resolved_of(option, definitions) for option in options]
    return resolved if all("properties" in option for option in resolved) else []


def resolved_of(schema, definitions):
    """What a reference refers to."""
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


# Cells: what a value may be, in words


def cell(schema, definitions):
    """The values that a key takes, in words, fit for a table."""
    return words(schema, definitions).replace("|", "\\|")


def words(schema, definitions):
    schema = resolved_of(schema, definitions)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(words(option, definitions) for option in options)
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "properties" in schema:
        return f"mapping of {', '.join(f'`{key}`' for key in schema['properties'])}"
    kind = schema.get("type")
    if kind == "array":
        return array(schema, definitions)
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + limits(schema)
    return {"boolean": "`true`, `false`", "null": "`null`", "string": "text"}.get(kind, "any value")


def array(schema, definitions):
    if places := schema.get("prefixItems"):
        return f"list of {len(places)} {several(words(places[0], definitions))}"
    return f"list of {several(words(schema.get('items', {}), definitions))}"


def several(singular):
    """``whole number from 1 or text`` → ``whole numbers from 1 or texts``."""
    words_of_one = ("mapping", "whole number", "number", "list", "text")
    options = singular.split(" or ")
    for place, option in enumerate(options):
        word = next((word for word in words_of_one if option.startswith(word)), "")
        options[place] = f"{word}s{option.removeprefix(word)}" if word else option
    return " or ".join(options)


def limits(schema):
    """`` from 0 to 180``, or `` from 0, below 1`` where the limit itself is out of range."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if schema["type"] == "integer":
        low, above = (low if above is None else above + 1), None
        high, below = (high if below is None else below - 1), None
    parts = [(" from", low), (" above", above), (" to", high), (", below", below)]
    return "".join(f"{word} {limit:.10g}" for word, limit in parts if limit is not None)


def one_line(description):
    return " ".join(description.split())


# The presets


def presets():
    """The keys in which the presets differ from the defaults, side by side."""
    default = flat(Config().model_dump(mode="json"))
    values = {name: flat(resolve(name).model_dump(mode="json")) for name in PRESETS}
    keys = dict.fromkeys(key for layer in (default, *values.values()) for key in layer if key != "preset")
    lines = ["## Presets", "", "The keys in which a preset differs from the defaults.", ""]
    lines += [
        f"| key | default | {' | '.join(f'`{name}`' for name in values)} |",
        "| --- |" + " --- |" * (1 + len(values)),
    ]
    for key in keys:
        row = [layer.get(key) for layer in (default, *values.values())]
        if any(value != row[0] for value in row):
            lines.append(f"| `{key}` | {' | '.join(f'`{json.dumps(value)}`' for value in row)} |")
    return "\n".join([*lines, ""])


def flat(values, prefix=""):
    """``{"training": {"epochs": 5}}`` → ``{"training.epochs": 5}``."""
    found = {}
    for key, value in values.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found
