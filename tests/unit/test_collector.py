"""The garbage collector: out of the way while modules are loaded, and at work from then on."""

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from hlctl import settings
from hlctl.boundary import settings_of


def test_modules_are_kept_once_and_not_what_each_look_leaves_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status --watch` reads its settings again at every look, for days."""
    monkeypatch.setattr(settings, "load", lambda _config: SimpleNamespace(log_level="warning", log_format="text"))
    context: Any = SimpleNamespace(obj=SimpleNamespace(config=None, log_level="warning", log_format="text"))
    gc.disable()
    try:
        settings_of(context)
        assert gc.isenabled()
        kept = gc.get_freeze_count()
        assert kept > 0
        settings_of(context)
        assert gc.get_freeze_count() <= kept
    finally:
        gc.unfreeze()
        gc.enable()
