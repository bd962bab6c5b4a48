# The engine with its weights, for the CPU: no Slicer, no laboratory. From the repository's root:
#
#   docker build -t qnetseg .
#   docker run --rm --network none -v "$PWD:/data" qnetseg segment scan.nii.gz --mask drawing.nii.gz --output out.seg.nrrd
#
# As a worker of another machine: --worker "ssh gpu-box docker run --rm -i --network none qnetseg worker".
FROM python:3.12.8-slim-bookworm

# torch's own index has wheels for the CPU, a tenth of the size: --build-arg TORCH_INDEX=... names it.
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/qnetseg
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY QNetSegment/Logic/qnetseg QNetSegment/Logic/qnetseg
COPY QNetSegment/Resources/Models QNetSegment/Resources/Models
RUN if [ -n "$TORCH_INDEX" ]; then \
      grep -E '^torch(vision)?==' requirements.lock > torch.txt \
      && pip install --index-url "$TORCH_INDEX" --requirement torch.txt; \
    fi \
 && pip install --constraint requirements.lock .

# Patients' images are in /data, which the user mounts; nothing runs as root.
RUN useradd --create-home --uid 1000 qnetseg
USER qnetseg
WORKDIR /data
ENTRYPOINT ["qnetseg"]
CMD ["--help"]
