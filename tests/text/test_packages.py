import sys

import pytest

from vidjax.errors import UserError
from vidjax.text import packages


@pytest.mark.parametrize("name", ["tokenizers", "sentencepiece", "ftfy"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"text needs the package {name}: pip install -e '\.\[text\]'"):
        getattr(packages, name)()
