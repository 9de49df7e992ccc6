"""The card and the options are light."""

import subprocess
import sys

from xcore_lens import plugin


def test_the_card():
    cards = {}
    plugin.register_explainers(lambda name, factory, **card: cards.update({name: (factory, card)}))
    factory, card = cards["lens"]
    assert factory == "xcore_lens.lens:Lens"
    assert card["options"] == "xcore_lens.options:Options"
    assert card["needs"] == ("activations",)


def test_the_card_imports_nothing_heavy():
    code = (
        "import sys, xcore_lens.plugin\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'pandas', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import xcore_lens.options\n"
        "heavy.discard('pydantic')\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
