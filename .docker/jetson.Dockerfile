# moue on a Jetson with JetPack 6 (Orin): CUDA 12.6 and TensorRT 10.3 come with NVIDIA's image.
# Not yet run on hardware. On the Jetson, in a clone of moue:
#
#   docker build -f .docker/jetson.Dockerfile -t moue .
#   docker run --rm --runtime nvidia -v ~/.cache/moue:/root/.cache/moue moue engine --workspace 512M
#   docker run --rm --runtime nvidia -v ~/.cache/moue:/root/.cache/moue -v "$PWD":/work moue \
#       animate photo.jpg --expression happy --device cuda -o happy.mp4
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-dev python3-libnvinfer python3-pip \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/local/cuda/bin:$PATH

# What moue needs, but for MediaPipe's own requirements: JAX alone is larger than all the rest.
# Later cuda-bindings bring CUDA's runtime 12.9 with them, for which JetPack 6's driver may be too old.
RUN python3 -m pip install --no-cache-dir \
      "absl-py" "attrs" "flatbuffers" "protobuf>=4.25,<5" \
      "numpy>=1.26" "onnxruntime>=1.20" "onnx>=1.16" "pillow>=10.3" "av>=17" \
      "cuda-bindings>=12.8,<12.9" \
 && python3 -m pip install --no-cache-dir --no-deps "mediapipe>=0.10.18,<=0.10.21"

COPY CMakeLists.txt LICENSE README.md pyproject.toml /moue/
COPY cpp_ext /moue/cpp_ext
COPY sdk /moue/sdk
# Stops here, and not at the first frame, where there is no nvcc.
RUN SKBUILD_CMAKE_DEFINE=MOUE_CUDA=ON python3 -m pip install --no-cache-dir --no-deps /moue

WORKDIR /work
ENTRYPOINT ["moue"]
