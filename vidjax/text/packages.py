"""Packages of the extra `text`, imported when they are used."""

import importlib
from types import ModuleType

from vidjax.errors import UserError, install


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"text needs the package {name}: {install('text')}") from None


def tokenizers() -> ModuleType:
    """The package tokenizers, for files `tokenizer.json`.

    Raises:
      UserError: if it is not installed.
    """
    return _package("tokenizers")


def sentencepiece() -> ModuleType:
    """The package sentencepiece, for files `.model`.

    Raises:
      UserError: if it is not installed.
    """
    return _package("sentencepiece")


def ftfy() -> ModuleType:
    """The package ftfy, which mends wrongly decoded text.

    Raises:
      UserError: if it is not installed.
    """
    return _package("ftfy")
