"""The plugin's card, and what importing it loads."""

import subprocess
import sys

from xcore_craft import plugin


def test_the_card():
    cards = {}
    plugin.register_explainers(lambda name, factory, **card: cards.update({name: (factory, card)}))
    factory, card = cards["craft"]
    assert factory == "xcore_craft.craft:Craft"
    assert card["options"] == "xcore_craft.options:Options"
    assert card["needs"] == ("activations",)


def test_the_card_imports_nothing_heavy():
    code = (
        "import sys, xcore_craft.plugin\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'pandas', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import xcore_craft.options\n"
        "heavy.discard('pydantic')\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
