// One sound at a time: a button plays the sound that it names, or stops it.
let playing = null;
document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-sound]');
  if (!button) return;
  const sound = document.getElementById(button.dataset.sound);
  const stop = playing === sound && !sound.paused;
  if (playing) {
    playing.pause();
    playing.currentTime = 0;
  }
  if (!stop) {
    playing = sound;
    sound.play();
  }
});
