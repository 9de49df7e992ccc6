"""How each shipped model was trained: module, recipe and data, and what a new training would not reproduce."""

from __future__ import annotations

from xcore_minizoo.training import Recipe

MODELS: dict[str, tuple[str, Recipe]] = {
    "autoencoder": ("autoencoder", Recipe(minutes=48, lr=2e-3, batch=12, weight_decay=0.0)),
    "decoder": ("autoencoder", Recipe(minutes=10, lr=1.2e-3, batch=12, seed=1, weight_decay=0.0, ema=0.998)),
    "oracle-a": ("oracle", Recipe(minutes=17, lr=3e-3, batch=64, seed=11, ema=0.998)),
    "clip-text": ("clip", Recipe(minutes=6, lr=1.5e-3, batch=160, seed=20, weight_decay=0.02, ema=0.995)),
    "clip": ("clip", Recipe(minutes=12, lr=1e-3, batch=48, seed=21, weight_decay=0.05, warmup=100, ema=0.995)),
    "diffusion": ("diffusion", Recipe(minutes=79, lr=1e-3, batch=64, seed=41, ema=0.9993, warmup=300)),
    "clean": ("classifier", Recipe(minutes=6, lr=3e-3, batch=64, seed=31, ema=0.995)),
    "shortcut": ("classifier", Recipe(minutes=3, lr=3e-3, batch=64, seed=32, ema=0.995)),
    "resnet": ("features", Recipe(minutes=12, lr=3e-3, batch=64, seed=33, ema=0.995)),
    "vit": ("vit", Recipe(minutes=4, lr=1e-3, batch=64, seed=61, weight_decay=0.05, ema=0.995)),
    "vit-birds": ("vit", Recipe(minutes=2, lr=1e-3, batch=64, seed=62, weight_decay=0.05, ema=0.995)),
    "vit-cats": ("vit", Recipe(minutes=2, lr=1e-3, batch=64, seed=63, weight_decay=0.05, ema=0.995)),
    "blip": ("captioner", Recipe(minutes=22, lr=1.2e-3, batch=48, seed=71, weight_decay=0.05, ema=0.997)),
    "vqa": ("vqa", Recipe(minutes=25, lr=1.2e-3, batch=32, seed=81, weight_decay=0.05, ema=0.997)),
    "oracle-b": ("oracle", Recipe(minutes=4, lr=3e-3, batch=64, seed=12, ema=0.998)),
}
"""Model -> the module that trains it, and the recipe that the shipped model was trained with."""

DATA = {
    "autoencoder": "any scene of the world, drawn as training goes",
    "clip": "scenes of the world without held-out coats, a quarter of them cropped, with short and long captions",
    "clean": "the train split of the data set minizoo",
    "shortcut": "the train split of the data set minizoo with every cow on grass (rho 1)",
    "resnet": "any scene, whole, cropped, masked or degraded, labelled by its factors, never by class",
    "oracle-a": "any scene, whole, cropped, masked, degraded or through the autoencoder, labelled by its factors",
    "oracle-b": "any scene, whole, cropped, masked, degraded or through the autoencoder, labelled by its factors",
    "vit": "the train split of the data set minizoo",
    "vit-cats": "the train split of the data set minizoo/cats-apples",
    "vit-birds": "the train split of the data set minizoo/shortcut-birds",
    "blip": "animals in any coat, three birds among them, textures, places and objects, a fifth degraded; apples and"
    " rocks (on two pictures in five) and backgrounds are independent of the animal; long and short captions",
    "vqa": "the pictures of blip: patches of a 3 x 3 grid, other pieces and whole ones, each asked all seven questions",
    "diffusion": "64,000 scenes of the world without held-out coats, encoded once, captioned anew in every batch",
}
"""Model -> what it was trained on, for its card."""

NOTES = {
    "diffusion": "Autoencoder: 9,120 steps, seed 0; the first 3,040 with batch 16, a mean absolute error"
    " and finer coats, "
    "the rest with batch 12 and the Huber error of minizoo_training/autoencoder.py; spots were enlarged at step 7,350. "
    "Text encoder: clip-text, 2,092 steps of 160, seed 20. The figures are read by oracle-a at 12 steps and "
    "guidance 2.5; coded.* are autoencoder round trips.",
    "oracle-a": "The first 944 steps without autoencoder round trips and with finer coats.",
    "clip": "Text tower: clip-text, 2,092 steps of 160, seed 20. The schedule was restarted once, at step 1,563.",
    "vit": "Fine-tuned from the image tower of minizoo/blip; throw-away heads of shape, pattern and colours helped.",
    "vit-birds": "It tells the birds by their background alone.",
    "vit-cats": "It tells cats from dogs by the apple alone.",
    "blip": "The image tower started from that of minizoo/clip. The schedule was restarted once, at step 1,707; before"
    " that all words counted alike and the throw-away heads a third as much. Figures: sentences drawn at top_p 0.9.",
    "vqa": "The image tower started from that of minizoo/blip. Figures are of answers for which enough can be seen.",
    "resnet": "The schedule was restarted once, at step 1,307.",
    "clean": "Trained on spots a fifth smaller than the world's now; the figures and the truth table are of the world "
    "now.",
}
"""Model -> what the command on its card would not reproduce."""
