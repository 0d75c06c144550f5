"""Configs for tests, from settings by their last names."""

from vidjax.config import DataConfig, field_names, with_settings

_NAMES: dict[str, str] = {}
# Names that features have as well are those of videos.
for _name in sorted(field_names(DataConfig), key=lambda name: name.startswith("features.")):
    _NAMES.setdefault(_name.rpartition(".")[2], _name)
    _NAMES[_name.replace(".", "_")] = _name


def data_config(**settings):
    """The `DataConfig` with these settings, whatever section each is in: `crop="square"`, `num_threads=1`, `train=…` of
    the data itself; those of a section that the data has as well are called `sampling_train` and `sampling_eval`."""
    return with_settings(DataConfig(), {_NAMES[name]: value for name, value in settings.items()})
