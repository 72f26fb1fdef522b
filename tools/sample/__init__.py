"""The parts of the renderer of the built-in sample: noise, shapes, materials, scene, tracer and film."""
