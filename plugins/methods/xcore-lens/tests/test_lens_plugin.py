"""The plugin's card, and what importing it loads."""

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


def test_captum_is_imported_only_when_it_attributes():
    code = (
        "import sys, torch, xcore_lens.lens\n"
        "from xcore_craft.activations import SplitClassifier\n"
        "from xcore_lens.attribution import attribute\n"
        "from xcore_lens.options import Options\n"
        "from xcore.contract import Samples\n"
        "class Probe:\n"
        "    layout = 'NC'\n"
        "    def head(self, a, like=None): return a ** 2\n"
        "split = SplitClassifier(Probe(), (2,))\n"
        "samples = Samples('image', torch.zeros(1, 3, 4, 4), ('a',))\n"
        "codes, atoms = torch.ones(1, 1, 2), torch.eye(2)\n"
        "def run(name): attribute(split, codes[:, 0], codes, atoms, samples, 0, Options(importance=name), 0, print)\n"
        "run('shapley')\n"
        "assert not {'captum', 'matplotlib'} & set(sys.modules)\n"
        "run('occlusion')\n"
        "assert 'captum' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
