"""The settings as `--help` shows them."""

import dataclasses

from vidjax.config import Config, field_names, setting, with_settings
from vidjax.config.help_text import settings_help


def test_every_setting_is_told_with_value_unit_and_choices(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = settings_help(with_settings(Config(), {"data.clip.size": 32, "data.mixture": (2.0,)}))
    lines = text.splitlines()
    for name in field_names(Config):
        assert sum(line.startswith(f"  {name.rpartition('.')[2]} ") for line in lines) > 0, name
    assert (
        "  size               32             Height and width of the crop; 0: the model's. In pixels. Default: 0."
        in lines
    )
    assert any(line.startswith("  mixture            (2,) ") for line in lines)
    assert "One of sgd, adamw." in text and "One of empty, class, sqrt." in " ".join(text.split())
    assert max(map(len, lines)) <= 120


def test_every_field_says_what_it_means():
    def sections(section):
        yield section
        for f in dataclasses.fields(section):
            if dataclasses.is_dataclass(value := getattr(section, f.name)):
                yield from sections(value)

    for section in sections(Config()):
        assert type(section).__doc__ and "(" not in type(section).__doc__.split(".")[0], "of its own, not the signature"
        for f in dataclasses.fields(section):
            if not dataclasses.is_dataclass(getattr(section, f.name)):
                assert f.metadata["help"].endswith("."), f"{section.path}.{f.name}"


def test_defaults_are_allowed():
    for name in field_names(Config):
        owner = setting(Config(), name.rpartition(".")[0]) if "." in name else Config()
        f = {f.name: f for f in dataclasses.fields(owner)}[name.rpartition(".")[2]]
        assert not (f.metadata.get("check") or (lambda value: ""))(getattr(owner, f.name)), name
