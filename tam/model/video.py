"""Which frames of a video file a processor shows to its model, and what it is told about them."""

from typing import Any

from transformers.video_utils import VideoMetadata

from tam.errors import InputError
from tam.media import Film, Media, Sampling, two_a_second

# What the processor keeps for itself, of the arguments that it shares with its sampling.
OWN = {"input_data_format", "do_convert_rgb", "do_sample_frames", "device", "video_metadata"}


def sampling_of(processor: Any) -> Sampling:
    """The rule of the processor's own video processor; two frames a second, where that has none.

    It has one if it is told to sample, or how many frames (``num_frames``), or how many a second (``fps``).
    """
    kind: Any = getattr(processor, "video_processor", None)
    if not any(getattr(kind, name, None) for name in ("do_sample_frames", "num_frames", "fps")):
        return two_a_second
    options = {name: getattr(kind, name, None) for name in kind.valid_kwargs.__annotations__ if name not in OWN}

    def sampled(film: Film) -> list[int]:
        if film.rate <= 0:  # most rules go by seconds
            return two_a_second(film)
        try:
            found = [int(number) for number in kind.sample_frames(VideoMetadata(**metadata_of(film)), **options)]
        except Exception as error:  # anything, of a video that is too short for the rule
            raise InputError(
                "the processor cannot sample this video", got=f"{film.total} frames at {film.rate:g} a second: {error}",
                cure="give its frames as a list of pictures",
            ) from error  # fmt: skip
        return [number for number in found if number < film.total]  # Molmo 2's rounding can name one behind the last

    return sampled


def metadata_of(film: Film) -> dict[str, Any]:
    """As the fields of transformers' ``VideoMetadata``."""
    return {"total_num_frames": film.total, "fps": film.rate, "duration": film.total / film.rate}


def video_options(media: Media) -> dict[str, Any]:
    """Arguments for the video processor: frames are sampled already; their times matter to some models.

    Frames of unknown times are taken as two a second.
    """
    if media.film is not None and media.film.rate > 0:
        metadata = metadata_of(media.film) | {"frames_indices": list(media.frames)}
    else:
        count = len(media.pictures)
        metadata = {"total_num_frames": count, "fps": 2.0, "frames_indices": list(range(count))}
    # Said, since frames that are 1 or 3 pixels high would be taken for channels.
    return {"do_sample_frames": False, "video_metadata": [metadata], "input_data_format": "channels_last"}
