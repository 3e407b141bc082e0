"""Compatibility: the same tests against memcached and against paircached."""

import pytest

pytest.register_assert_rewrite("compat.wire", "compat.daemon")
