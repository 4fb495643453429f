"""Camera styles: a training image in the look of another camera, by CamStyle's images or by the cameras' colours."""
