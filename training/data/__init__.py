"""Training data: prepared faces and the sources that draw samples from them."""

# Whom to credit for what the weights are trained on; every model says so.
ATTRIBUTIONS = (
    "Face Research Lab London Set, DeBruine & Jones 2017, doi 10.6084/m9.figshare.5047666.v5, CC-BY 4.0",
    "Young Adult White Faces, DeBruine & Jones 2017, doi 10.6084/m9.figshare.4220517.v1, CC-BY 4.0",
    "assets-person-portrait (faker-js), computer-generated portraits, CC0",
    "official portraits, US Government works, public domain",
    "ICT-FaceKit light head model, MIT",
    "MediaPipe canonical face model and landmarks, Apache-2.0",
)
