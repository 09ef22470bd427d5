"""Let mmengine format the text of each config once: it does so for every log and checkpoint."""

import functools

import mmengine.config.config
from yapf.yapflib import yapf_api

_format_code = yapf_api.FormatCode


@functools.cache
def _format_once(text, style, options):
    return _format_code(text, style_config=dict(style), **dict(options))


def _format(text, style_config, **options):
    return _format_once(text, tuple(style_config.items()), tuple(options.items()))


# The two versions of mmengine look in one of these places.
yapf_api.FormatCode = mmengine.config.config.FormatCode = _format
