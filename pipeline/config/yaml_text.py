"""YAML as people mean it: keys are unique, and are words (`on`, `5`), never booleans or numbers."""

from typing import Any

import yaml


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises yaml.YAMLError if it is not YAML, or a section has a key twice."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader)
    except RecursionError:
        raise yaml.YAMLError("its sections are nested too deeply") from None


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a repeated key; YAML's own loader silently takes the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                line = f"line {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"key '{key.value}' is there twice ({line}); keep one of them")
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)
